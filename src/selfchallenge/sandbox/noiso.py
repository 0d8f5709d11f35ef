def confine_zygote(level, read_only): pass
def confine_cell(level, limits): pass
