print("myapp 1.0")
