package rootfs

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// firstInode is above what other archives of an initramfs number their files
// with: the kernel joins files of one number.
const firstInode = 1 << 24

// writeCPIO writes the tree as an archive that the kernel unpacks as initramfs.
func (t *tree) writeCPIO(ctx context.Context, w io.Writer) error {
	links := map[*node]uint64{}
	var xattrs []wire.Xattr
	err := t.walk(ctx, func(name string, n *node, _ string) error {
		links[n]++
		for _, key := range slices.Sorted(maps.Keys(n.hdr.PAXRecords)) {
			xattrs = append(xattrs, wire.Xattr{Path: []byte("/" + name), Name: strings.TrimPrefix(key, xattrPrefix), Value: []byte(n.hdr.PAXRecords[key])})
		}
		return nil
	})
	if err != nil {
		return err
	}
	list, err := json.Marshal(xattrs)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(w, 256<<10)
	out := cpio.Newc.Writer(buffer)
	first := cpio.StaticFile(wire.XattrsPath[1:], string(list), 0o600)
	first.Ino, first.NLink = firstInode, 1
	if err := out.WriteRecord(first); err != nil {
		return err
	}
	inode := uint64(firstInode)
	inodes := map[*node]uint64{}
	err = t.walk(ctx, func(name string, n *node, first string) error {
		name = path.Join(wire.RootDir[1:], name)
		if n.hdr.Size > math.MaxUint32 {
			return errors.New("cpio has no files above 4 GiB: leave it out, or test on kernels with ext4 and a virtio disk")
		}
		kind := map[byte]uint64{
			tar.TypeReg: cpio.S_IFREG, tar.TypeDir: cpio.S_IFDIR, tar.TypeSymlink: cpio.S_IFLNK,
			tar.TypeChar: cpio.S_IFCHR, tar.TypeBlock: cpio.S_IFBLK, tar.TypeFifo: cpio.S_IFIFO,
		}[n.hdr.Typeflag]
		r := cpio.Record{Info: cpio.Info{
			Name: name, Mode: kind | uint64(n.hdr.Mode), UID: uint64(n.hdr.Uid), GID: uint64(n.hdr.Gid), NLink: links[n],
			MTime: uint64(n.hdr.ModTime.Unix()), Rmajor: uint64(n.hdr.Devmajor), Rminor: uint64(n.hdr.Devminor),
		}}
		if first == "" {
			inode++
			inodes[n] = inode
		}
		r.Ino = inodes[n]
		switch {
		case n.hdr.Typeflag == tar.TypeSymlink: // which the kernel does not join
			r.ReaderAt, r.FileSize, r.NLink = strings.NewReader(n.hdr.Linkname), uint64(len(n.hdr.Linkname)), 1
		case first == "" && n.hdr.Size > 0:
			file, err := n.open()
			if err != nil {
				return err
			}
			defer file.Close()
			r.ReaderAt, r.FileSize = file.(io.ReaderAt), uint64(n.hdr.Size)
		}
		return out.WriteRecord(r)
	})
	if err != nil {
		return err
	}
	return errors.Join(cpio.WriteTrailer(out), buffer.Flush())
}
