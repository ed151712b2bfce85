package wire

// How a root file system of the user's comes into the guest.
const (
	RootDisk    = "disk" // as an ext4 file system on the only disk
	RootShare   = "9p"   // as the share HostTag
	RootArchive = "cpio" // in the initramfs, unpacked into RootDir
)

// RootDir is where a root file system lies in the initramfs: nothing in it can
// clash with what is the guest's.
const RootDir = "/.rootfs"

// XattrsPath is where an archive of a root file system holds the extended
// attributes of its files, which cpio has no place for.
const XattrsPath = "/.xattrs"

// Xattr is an extended attribute of a file.
type Xattr struct {
	Path  []byte `json:"path"` // absolute, in the root
	Name  string `json:"name"`
	Value []byte `json:"value"`
}
