throw new Error("a module that throws")
