package wire

// XattrsPath is where an archive of a root file system holds the extended
// attributes of its files, which cpio has no place for.
const XattrsPath = "/.xattrs"

// Xattr is an extended attribute of a file.
type Xattr struct {
	Path  []byte `json:"path"`
	Name  string `json:"name"`
	Value []byte `json:"value"`
}
