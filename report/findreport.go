package report

import (
	"archive/zip"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// FindReport reads the merged result in a directory or zip file that merge has
// left; it is nil where there is none.
func FindReport(name string) (*Merged, error) {
	var fsys fs.FS
	if strings.HasSuffix(name, ".zip") {
		zr, err := zip.OpenReader(name)
		if err != nil {
			return nil, err
		}
		defer zr.Close()
		fsys = zr
	} else {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		fsys = root.FS()
	}
	f, err := fsys.Open(ReportName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadReport(f)
}
