// Package host knows the machine that boots the VMs: its QEMU and accelerator,
// free memory and disk, directories for temporary files, and how to install
// what is missing. It owns the locks that keep two runs apart. It knows nothing
// of kernels' lists, of verdicts or of reports.
package host

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DiskUsage returns the size of all files below dir, in bytes.
func DiskUsage(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// DiskFree returns the bytes that an ordinary user can still write to the file
// system of dir, or of its nearest parent that exists.
func DiskFree(dir string) int64 {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			return int64(st.Bavail) * st.Bsize
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0
		}
		dir = parent
	}
}
