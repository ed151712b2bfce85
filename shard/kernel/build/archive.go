package build

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// archiveDir is the directory in the archive. Readers know it.
const archiveDir = "mainline-kernels/"

// WriteArchive replaces the file out with an archive of the kernels:
//
//	mainline-kernels/bzImage-v5.13.4
//	mainline-kernels/config-v5.13.4
//
// The same kernels give the same bytes. A reader sees the old archive or the
// new one, and when something goes wrong the old one stays.
func WriteArchive(out string, arch Arch, kernels []*Kernel) error {
	err := kernel.WriteAtomic(out, 0o644, func(f io.Writer) error {
		w := tar.NewWriter(f)
		if err := w.WriteHeader(header(archiveDir, tar.TypeDir, 0)); err != nil {
			return err
		}
		for _, k := range kernels {
			if err := addFile(w, archiveDir+arch.File+k.Name, k.Image); err != nil {
				return err
			}
			if err := addFile(w, archiveDir+"config-"+k.Name, k.Config); err != nil {
				return err
			}
		}
		return w.Close()
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return nil
}

func header(name string, typ byte, size int64) *tar.Header {
	h := &tar.Header{Name: name, Typeflag: typ, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if typ == tar.TypeDir {
		h.Mode = 0o755
	}
	return h
}

func addFile(w *tar.Writer, name, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(header(name, tar.TypeReg, st.Size())); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
