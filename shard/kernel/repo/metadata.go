package repo

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// Limits of a repository's metadata. The largest public ones have 60,000
// packages in 25 MB, which unpack to 250 MB.
const (
	maxRepomd     = 1 << 20   // bytes
	maxPrimary    = 256 << 20 // bytes, compressed
	maxPrimaryXML = 4 << 30   // bytes, unpacked
	maxPackageXML = 8 << 20   // bytes of one package
	maxKernels    = 100_000   // count of kernel packages in a repository
	maxPackages   = 5_000_000 // count
)

// checksum pins a file as repository metadata does: "sha256" and hex digits.
type checksum struct {
	Type string `xml:"type,attr"`
	Hex  string `xml:",chardata"`
}

// newHash returns the hash of the checksum's type, nil for one that is unknown
// or broken: md5, and sha, by which repositories mean SHA-1.
func (c checksum) newHash() hash.Hash {
	switch c.Type {
	case "sha256":
		return sha256.New()
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

func (c checksum) check() error {
	h := c.newHash()
	if h == nil {
		return fmt.Errorf("checksums of type %q are not accepted: expected sha256, sha384 or sha512", c.Type)
	}
	if len(c.Hex) != 2*h.Size() || strings.Trim(c.Hex, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is no %s checksum", c.Hex, c.Type)
	}
	return nil
}

func (c checksum) String() string { return c.Type + ":" + c.Hex }

func parseChecksum(s string) (checksum, error) {
	typ, digits, _ := strings.Cut(s, ":")
	c := checksum{typ, digits}
	return c, c.check()
}

// repoFile is a file that repomd.xml lists.
type repoFile struct {
	Type     string   `xml:"type,attr"`
	Checksum checksum `xml:"checksum"`
	Location struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
	Size int64 `xml:"size"` // bytes; 0 where old tools left it out
}

// parseRepomd returns the entry of the list of packages in repomd.xml.
func parseRepomd(b []byte) (repoFile, error) {
	var doc struct {
		XMLName xml.Name   `xml:"repomd"`
		Data    []repoFile `xml:"data"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return repoFile{}, fmt.Errorf("read repomd.xml: %w", bounded.NoEOF(err))
	}
	for _, f := range doc.Data {
		if f.Type != "primary" {
			continue
		}
		f.Checksum.Hex = strings.TrimSpace(f.Checksum.Hex)
		if err := f.Checksum.check(); err != nil {
			return repoFile{}, fmt.Errorf("repomd.xml: primary: %w", err)
		}
		if !validHref(f.Location.Href) || f.Location.Base != "" {
			return repoFile{}, fmt.Errorf("repomd.xml: primary: location %q is not relative to the repository", f.Location.Href)
		}
		if f.Size < 0 || f.Size > maxPrimary {
			return repoFile{}, &bounded.LimitError{What: "size of primary in repomd.xml", Limit: maxPrimary}
		}
		return f, nil
	}
	return repoFile{}, errors.New("repomd.xml lists no primary metadata")
}

var hrefRE = bounded.NewPattern(1000, `^[A-Za-z0-9._][A-Za-z0-9._+~^%:@()/-]*$`)

// validHref takes relative paths. They may lead up: Amazon Linux keeps its
// packages beside its repositories. [resolveHref] says what that may reach.
func validHref(href string) bool {
	if !hrefRE.MatchString(href) {
		return false
	}
	u, err := url.Parse(href)
	return err == nil && !u.IsAbs() && u.Host == "" && u.RawQuery == "" && u.Fragment == ""
}

// resolveHref returns the address of href in the repository base. It never
// leaves base's server, nor a directory.
func resolveHref(base, href string) (string, error) {
	b, err := url.Parse(strings.TrimRight(base, "/") + "/")
	if err != nil || !validHref(href) {
		return "", fmt.Errorf("location %q in %s is not valid", href, fetch.ShownURL(base))
	}
	// A package's name may hold what would be escapes in a URL.
	u := *b
	u.Path, u.RawPath = path.Join(b.Path, href), ""
	if strings.Contains(href, "%") {
		r, err := b.Parse(href)
		if err != nil {
			return "", fmt.Errorf("location %q in %s is not valid", href, fetch.ShownURL(base))
		}
		u = *r
	}
	if u.Scheme != b.Scheme || u.Host != b.Host || u.Scheme == "file" && !strings.HasPrefix(path.Clean(u.Path), b.Path) {
		return "", fmt.Errorf("location %q leads away from %s", href, fetch.ShownURL(base))
	}
	return u.String(), nil
}

// pkg is what counts of one package in primary.xml.
type pkg struct {
	Type    string `xml:"type,attr"`
	Name    string `xml:"name"`
	Arch    string `xml:"arch"`
	Version struct {
		Version string `xml:"ver,attr"`
		Release string `xml:"rel,attr"`
	} `xml:"version"`
	Checksum checksum `xml:"checksum"`
	Size     struct {
		Package   int64 `xml:"package,attr"`   // bytes of the file
		Installed int64 `xml:"installed,attr"` // bytes of its files
	} `xml:"size"`
	Location struct {
		Href string `xml:"href,attr"`
		Base string `xml:"base,attr"`
	} `xml:"location"`
	Provides []struct {
		Name    string `xml:"name,attr"`
		Version string `xml:"ver,attr"`
		Release string `xml:"rel,attr"`
	} `xml:"format>provides>entry"`
	Source string `xml:"format>sourcerpm"`
	Time   struct {
		Build int64 `xml:"build,attr"` // Unix's seconds
	} `xml:"time"`

	repo      string // name of the repository it was found in
	signature string // of its file, base64, where the metadata has it
	bootable  bool   // of pacman: it depends on or provides what kernels do
}

var sourceRE = bounded.NewPattern(200, `^[A-Za-z0-9][A-Za-z0-9._+~^:-]*$`)

// source returns the source package and its version, and the day that the package
// was built; "" for what its metadata does not tell.
func (p *pkg) source() (name, day string) {
	file, _ := strings.CutSuffix(p.Source, ".rpm")
	if name = strings.TrimSuffix(strings.TrimSuffix(file, ".src"), ".nosrc"); !sourceRE.MatchString(name) {
		name = ""
	}
	if i := strings.LastIndex(name, "-"); i > 0 {
		if j := strings.LastIndex(name[:i], "-"); j > 0 {
			name = name[:j] + " " + name[j+1:]
		}
	}
	if t := p.Time.Build; t > 0 && t < 1<<40 {
		day = time.Unix(t, 0).UTC().Format(time.DateOnly)
	}
	return name, day
}

// trimProvides keeps what counts of what a package provides: a kernel of SUSE's
// provides each of its thousands of symbols.
func (p *pkg) trimProvides() {
	kept := p.Provides[:0]
	for _, e := range p.Provides {
		if e.Name == "kernel" || e.Name == suseKernel || strings.HasSuffix(e.Name, "-uname-r") {
			kept = append(kept, e)
		}
	}
	p.Provides = slices.Clone(kept)
}

// provided returns the version of what a package provides; ok says whether it
// does.
func (p *pkg) provided(name string) (version string, ok bool) {
	for _, e := range p.Provides {
		if e.Name != name {
			continue
		}
		if ok, version = true, e.Version; version != "" && e.Release != "" {
			version += "-" + e.Release
		}
		if version != "" {
			break
		}
	}
	return version, ok
}

// nevra is the package's full name: kernel-core-5.14.0-70.el9.x86_64.
func (p *pkg) nevra() string {
	return p.Name + "-" + p.Version.Version + "-" + p.Version.Release + "." + p.Arch
}

var (
	nameRE    = bounded.NewPattern(200, `^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	versionRE = bounded.NewPattern(200, `^[A-Za-z0-9._+~^]+$`)
)

// check returns what is wrong with a package's entry.
func (p *pkg) check() error {
	switch {
	case !nameRE.MatchString(p.Name), !nameRE.MatchString(p.Arch):
		return errors.New("its name is not valid")
	case !versionRE.MatchString(p.Version.Version), !versionRE.MatchString(p.Version.Release):
		return errors.New("its version is not valid")
	case !validHref(p.Location.Href):
		return fmt.Errorf("its location %q is not relative to the repository", p.Location.Href)
	case p.Location.Base != "":
		return fmt.Errorf("it lies outside of the repository, at %q", p.Location.Base)
	case p.Size.Package <= 0 || p.Size.Package > unpack.MaxArchive:
		return fmt.Errorf("its size is given as %d bytes", p.Size.Package)
	}
	return p.Checksum.check()
}

// parsePrimary returns the packages of an architecture whose name starts with
// "kernel" or "linux". Other packages are skipped as bytes: parsing 250 MB of XML takes
// half a minute. bad says what is wrong with entries that are passed over.
func parsePrimary(r io.Reader, arch string) (kernels []pkg, bad []string, err error) {
	fail := func(err error) ([]pkg, []string, error) {
		return nil, nil, fmt.Errorf("read the list of packages: %w", err)
	}
	packages := bufio.NewScanner(io.LimitReader(r, maxPrimaryXML))
	packages.Buffer(make([]byte, 256<<10), maxPackageXML)
	packages.Split(splitPackages)
	open, ended := false, false
	for n := 0; packages.Scan(); n++ {
		b := packages.Bytes()
		if open = open || bytes.Contains(b, []byte("<metadata")); !open {
			return fail(errors.New("it is not repository metadata"))
		}
		if !bytes.HasSuffix(b, packageEnd) {
			ended = bytes.Contains(b, []byte("</metadata>"))
			break
		}
		if n >= maxPackages || len(kernels) >= maxKernels {
			return nil, nil, &bounded.LimitError{What: "number of packages in a repository", Limit: int64(n)}
		}
		if !bytes.Contains(b, []byte("<name>kernel")) && !bytes.Contains(b, []byte("<name>linux")) {
			continue
		}
		var p pkg
		start := max(0, bytes.Index(b, []byte("<package "))) // else it is not well formed
		if err := xml.Unmarshal(b[start:], &p); err != nil {
			return fail(fmt.Errorf("it is not well formed: %w", err))
		}
		if p.Type != "rpm" || p.Arch != arch || !strings.HasPrefix(p.Name, "kernel") && !strings.HasPrefix(p.Name, "linux") {
			continue
		}
		p.trimProvides()
		p.Checksum.Hex = strings.TrimSpace(p.Checksum.Hex)
		if err := p.check(); err != nil {
			if len(bad) < 100 {
				bad = append(bad, bounded.OneLine(fmt.Sprintf("%.100q: %v", p.Name, err)))
			}
			continue
		}
		kernels = append(kernels, p)
	}
	switch err := packages.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fail(&bounded.LimitError{What: "size of one package's metadata", Limit: maxPackageXML})
	case err != nil:
		return fail(err)
	case !ended:
		return fail(errors.New("it ends early"))
	}
	return kernels, bad, nil
}

var packageEnd = []byte("</package>")

// splitPackages is a [bufio.SplitFunc]: each token ends with a package, and the
// last one with the document.
func splitPackages(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.Index(data, packageEnd); i >= 0 {
		end := i + len(packageEnd)
		return end, data[:end], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// verify compares the checksum with that of what r holds.
func (c checksum) verify(r io.Reader, what string) error {
	h := c.newHash()
	if _, err := io.CopyBuffer(h, r, make([]byte, 1<<20)); err != nil {
		return err
	}
	if got := (checksum{c.Type, hex.EncodeToString(h.Sum(nil))}); got != c {
		return &kernel.DigestError{What: fetch.ShownURL(what), Want: c.String(), Got: got.String()}
	}
	return nil
}
