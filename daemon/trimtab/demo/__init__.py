"""Floor 5: ``trimtab demo``, the main job shown end to end on real images over a real socket."""
