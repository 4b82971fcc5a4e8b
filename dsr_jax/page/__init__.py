"""What `report` puts on the page: tables, drawings, ranked lists and reconstruction maps, and the files they become."""
