"""Adapters: DSR inside other people's tools.

wildlife    a matcher for wildlife-tools' pipelines and its WildFusion
timm_maps   maps of any network of timm
tracks      re-association of a tracker's lost tracks
ray_shards  a gallery in shards, searched by actors of Ray
"""
