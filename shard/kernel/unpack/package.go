package unpack

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// Package is what a package says of itself. Its words are safe in a report.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`             // as its kind of packages has it
	Source  string `json:"source"`           // the source package
	Date    string `json:"date,omitempty"`   // day that it was built
	Binary  string `json:"binary,omitempty"` // the package with the kernel, if it is another: Debian's linux-binary-<release>
}

// PackageFile is an archive that says what it is.
type PackageFile interface {
	kernel.Archive
	Package(ctx context.Context) (*Package, error)
}

// PackageAt returns a file that is named like a package, nil for any other.
func PackageAt(file string) PackageFile {
	base := filepath.Base(file)
	switch {
	case strings.HasSuffix(base, ".deb"):
		return Deb(file)
	case strings.HasSuffix(base, ".rpm"):
		return RPM(file)
	case strings.HasSuffix(ArchiveStem(base), ".pkg"):
		return pacman{Tar(file)}
	}
	return nil
}

// noKernel matches packages that are large and hold nothing to boot.
var noKernel = regexp.MustCompile(`-(dbg|dbgsym|debuginfo|debugsource)[_-]|\.(no)?src\.rpm$`)

// HasNoKernel says whether a package is named as those with debug information or
// sources are.
func HasNoKernel(base string) bool { return noKernel.MatchString(base) }

// Package implements [PackageFile].
func (p Deb) Package(ctx context.Context) (*Package, error) {
	text, err := p.Control(ctx, "control")
	if err != nil {
		return nil, err
	}
	f := fields(text, ":")
	source, _, _ := strings.Cut(f["Source"], " ")
	made := clean(f["Package"], f["Version"], f["Architecture"], source, p.made())
	made.Binary = binaryName.FindString(f["Depends"])
	return made, nil
}

// made is when the package was made, which the first header of its ar archive says.
func (p Deb) made() string {
	f, err := os.Open(string(p))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 36)
	if _, err := io.ReadFull(f, b); err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[24:]))
}

// Package implements [PackageFile].
func (p RPM) Package(context.Context) (*Package, error) {
	f, err := os.Open(string(p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, h, err := ReadRPM(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	version := h.String(tagVersion) + "-" + h.String(tagRelease)
	source := strings.TrimSuffix(h.String(tagSourceRPM), "-"+version+".src.rpm")
	return clean(h.String(tagName), version, h.String(tagArch), source, strconv.Itoa(int(h.Int32(tagBuildTime)))), nil
}

// pacman is a package of Arch Linux.
type pacman struct{ Tar }

// Package implements [PackageFile].
func (p pacman) Package(ctx context.Context) (*Package, error) {
	var f map[string]string
	err := p.Walk(ctx, func(name string, _ int64, r io.Reader) error {
		if name != ".PKGINFO" {
			return nil
		}
		b, err := io.ReadAll(io.LimitReader(r, maxControl))
		f = fields(string(b), " =")
		return cmp.Or(err, fs.SkipAll)
	})
	return clean(f["pkgname"], f["pkgver"], f["arch"], f["pkgbase"], f["builddate"]), err
}

// fields reads lines of a name, what parts the two, and a value.
func fields(text, by string) map[string]string {
	f := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, by); ok {
			f[name] = strings.TrimSpace(value)
		}
	}
	return f
}

var binaryName = regexp.MustCompile(`\blinux-binary-[a-z0-9.+-]{1,100}`)

var safeWord = regexp.MustCompile(`^[A-Za-z0-9._+~:^-]{1,120}$`)

// clean takes what a package says, and the second that it was built in.
func clean(name, version, arch, source, seconds string) *Package {
	safe := safeWord.FindString
	p := &Package{Name: safe(name), Version: safe(version), Arch: safe(arch), Source: cmp.Or(safe(source), safe(name))}
	if n, err := strconv.ParseUint(seconds, 10, 32); err == nil && n > 0 {
		p.Date = time.Unix(int64(n), 0).UTC().Format(time.DateOnly)
	}
	return p
}
