"""HDF5 written without the HDF5 library: what the library writes when it is asked for the oldest layout.

That layout is what Keras itself writes, and every program that reads HDF5 reads it. All is known before the first value
comes, so a file is described as a tree and laid out at once: a head with all that is no value, then the values.

    tree        groups, datasets and attributes as they are wanted
    datatype    what elements are
    message     the messages that objects are made of, and their headers
    text_heap   texts of variable length
    group       the members of a group: their names, and a tree of them
    file        the whole head, and where the values go

What things are called in the bytes, and where they are described, is in the modules of ``hdf5_file`` that read them.
"""
