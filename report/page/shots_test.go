package page

import (
	"os"
	"path/filepath"
	"testing"
)

// With PAGES=DIR in the environment this writes the pages that the tests look
// at, to look at them oneself.
func TestPages(t *testing.T) {
	dir := os.Getenv("PAGES")
	if dir == "" {
		t.Skip("PAGES names no directory")
	}
	for name, write := range pages(t) {
		f, err := os.Create(filepath.Join(dir, name+".html"))
		if err != nil {
			t.Fatal(err)
		}
		if err := write(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
