package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// addDir adds the files below a directory of this machine, as far as its file
// system goes: what is mounted below, such as /proc, is left empty. The files of
// the user who runs this are root's, as they would be had root unpacked them.
func (t *tree) addDir(ctx context.Context, c *kernel.Cache, top string) error {
	type id struct{ dev, ino uint64 }
	names := map[id]string{}
	var dev uint64
	var unread, mounts []string
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if !errors.Is(err, fs.ErrPermission) {
				return err
			}
			unread = append(unread, path)
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		hdr := &tar.Header{Name: strings.TrimPrefix(path, top), Mode: int64(st.Mode & 0o7777), ModTime: time.Unix(st.Mtim.Unix()), Uid: owner(st.Uid, os.Geteuid()), Gid: owner(st.Gid, os.Getegid())}
		at := id{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev has other types elsewhere
		if path == top {
			dev = at.dev
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFSOCK:
			return nil
		case unix.S_IFDIR:
			hdr.Typeflag = tar.TypeDir
		case unix.S_IFLNK:
			hdr.Typeflag = tar.TypeSymlink
			if hdr.Linkname, err = os.Readlink(path); err != nil {
				return err
			}
		case unix.S_IFREG:
			hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size
			if unix.Access(path, unix.R_OK) != nil {
				unread = append(unread, path)
			}
		case unix.S_IFIFO:
			hdr.Typeflag = tar.TypeFifo
		default:
			hdr.Typeflag = tar.TypeChar
			if st.Mode&unix.S_IFMT == unix.S_IFBLK {
				hdr.Typeflag = tar.TypeBlock
			}
			hdr.Devmajor, hdr.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev))) //nolint:unconvert // as Dev
		}
		if first, ok := names[at]; ok {
			hdr.Typeflag, hdr.Linkname = tar.TypeLink, first
		} else if hdr.Typeflag != tar.TypeDir && st.Nlink > 1 {
			names[at] = hdr.Name
		}
		if hdr.Typeflag == tar.TypeReg || hdr.Typeflag == tar.TypeDir {
			if hdr.PAXRecords, err = xattrsOf(path); err != nil {
				return err
			}
		}
		err = t.add(hdr, func() (io.ReadCloser, error) {
			return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		})
		if err != nil {
			return &kernel.UsageError{Msg: "take " + path, Err: err}
		}
		if e.IsDir() && at.dev != dev {
			mounts = append(mounts, path)
			return fs.SkipDir
		}
		return nil
	})
	if len(mounts) > 0 {
		c.Notef("%s: what is mounted at %s is not part of the root", top, bounded.OneLine(strings.Join(mounts, ", ")))
	}
	if err == nil && len(unread) > 0 {
		err = kernel.Usagef("%d files of the root cannot be read: %s: run as their owner, or as root", len(unread), bounded.OneLine(strings.Join(unread, ", ")))
	}
	return err
}

func owner(id uint32, own int) int {
	if int(id) == own {
		return 0
	}
	return int(id)
}

// xattrsOf returns those extended attributes that are kept, as a tar has them.
func xattrsOf(path string) (map[string]string, error) {
	list := make([]byte, 64<<10) // Linux's own limit, of a value too
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, syscall.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "list extended attributes of", Path: path, Err: err}
	}
	found := map[string]string{}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(list[:n], []byte{0}) {
		if !keptXattr(string(name)) {
			continue
		}
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %q of %s: %w", name, path, err)
		}
		found[xattrPrefix+string(name)] = string(value[:n])
	}
	return found, nil
}
