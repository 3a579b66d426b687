"""HDF5 read without the HDF5 library: the part of the format that files of weights are made of.

The library can be brought down by a crafted file, and takes the process with it. So it is not used: what is read is
parsed here, in Python, and every number is held against the file before it is used.

    file_bytes       bytes by address, and the numbers in them
    superblock       where the file begins and how wide its addresses are
    object_header    the messages that an object is made of
    dataspace, datatype, layout, filters, fill_value, links, attributes
                     what the messages say
    btree_v1, btree_v2, local_heap, fractal_heap, global_heap, chunk_arrays
                     where the rest is kept that is too much for a message
    checksum, lzf    what of it is computed
    objects          files, groups and datasets, as the readers use them
    chunks, texts, values
                     the pieces, the texts and the numbers of a dataset

What is read: all versions of the superblock, of object headers, groups, attributes, layouts and chunk indexes that HDF5
1.0 to 1.14 write; deflate, shuffle, Fletcher-32 and LZF. What is not: anything that leads out of the file, other
filters, elements that are no numbers or texts.

Format: "HDF5 File Format Specification" 3.0; the sections are named where they are parsed.
"""
