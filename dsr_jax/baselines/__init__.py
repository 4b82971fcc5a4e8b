"""The rivals of Sec. 4.1, each on the maps of the same network: what DSR is compared with.

resizing        the whole last layer of images brought to one size, Euclidean distance (Sec. 4.2)
global_average  the average over the map's positions, Euclidean distance (the baseline of Sec. 4.7)
swm             sliding window matching: the probe's size slid over each gallery image
amc             ambiguity-sensitive matching: patch by patch, over the patches of the whole gallery
fusion          AMC + SWM: 0.7 and 0.3 of scores brought to one scale
"""
