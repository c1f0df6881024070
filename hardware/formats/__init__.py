"""Integer networks in the files of other libraries: NIR, and lava-dl's ``.net``. Needs h5py and nir."""
