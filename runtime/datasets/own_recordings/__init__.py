"""folder:DIR"""
