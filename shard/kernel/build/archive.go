package build

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
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
func WriteArchive(out string, arch Arch, kernels []*Kernel) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", out, err), f.Close(), os.Remove(f.Name()))
		}
	}()
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
	if err := w.Close(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), out); err != nil {
		return err
	}
	return f.Close()
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
