package apt

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// stanza is what counts of one package in a Packages file (deb-control(5)).
type stanza struct {
	Package, Version, Source, Depends, Filename, SHA256 string

	Size    int64  // bytes
	Archive string // archiveMain or archiveSecurity: where Filename is
}

// maxStanzas caps the kernel packages of one list; bookworm has about 250.
const maxStanzas = 100_000

var (
	packageRE  = bounded.NewPattern(200, `^[a-z0-9][a-z0-9+.-]+$`)
	versionRE  = bounded.NewPattern(200, `^[A-Za-z0-9][A-Za-z0-9.+~:-]*$`)
	filenameRE = bounded.NewPattern(1000, `^[A-Za-z0-9][A-Za-z0-9._+~:%/-]*$`)
)

// maxField caps a line of a list, in bytes. The longest are dependencies.
const maxField = 16 << 20

// parsePackages returns the packages that want wants. The text is 50 MB, so
// other packages are skipped without looking at their fields; stanzas with a
// field that is not well formed are passed over.
func parsePackages(r io.Reader, want func(pkg string) bool) ([]stanza, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxField)
	var out []stanza
	var s stanza
	skip := false
	for more := true; more; {
		more = lines.Scan()
		line := bytes.TrimRight(lines.Bytes(), "\r")
		switch {
		case len(line) == 0 || !more: // the last stanza needs no empty line
			if !skip && s.valid() && want(s.Package) {
				out = append(out, s)
			}
			s, skip = stanza{}, false
		case !skip:
			skip = !s.field(line, want)
		}
		if len(out) > maxStanzas {
			return nil, &bounded.LimitError{What: "number of kernel packages in a list", Limit: maxStanzas}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read package list: %w", err)
	}
	return out, nil
}

// field takes one line; it returns false when the package is not wanted.
func (s *stanza) field(line []byte, want func(string) bool) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return true
	}
	value := bytes.TrimSpace(line[i+1:])
	switch string(line[:i]) {
	case "Package":
		s.Package = string(value)
		return want(s.Package)
	case "Version":
		s.Version = string(value)
	case "Source":
		s.Source = string(value)
	case "Depends":
		s.Depends = string(value)
	case "Filename":
		s.Filename = strings.TrimPrefix(string(value), "./")
	case "SHA256":
		s.SHA256 = string(value)
	case "Size":
		s.Size, _ = strconv.ParseInt(string(value), 10, 64) // 0 is not valid
	}
	return true
}

func (s *stanza) valid() bool {
	_, err := kernel.DigestHex(kernel.DigestPrefix + s.SHA256)
	return err == nil && packageRE.MatchString(s.Package) && versionRE.MatchString(s.Version) &&
		validFilename(s.Filename) && s.Size > 0 && s.Size <= unpack.MaxArchive
}

var sourceRE = bounded.NewPattern(200, `^([a-z0-9][a-z0-9+.-]+)( \(([A-Za-z0-9][A-Za-z0-9.+~:-]*)\))?$`)

// source returns the source package and its version: those of the package itself,
// where it does not say others.
func (s *stanza) source() string {
	name, version := s.Package, s.Version
	if sourceRE.MatchString(s.Source) {
		source, its, ok := strings.Cut(strings.TrimSuffix(s.Source, ")"), " (")
		if name = source; ok {
			version = its
		}
	}
	return name + " " + version
}

func validFilename(name string) bool { return filenameRE.MatchString(name) && fs.ValidPath(name) }

// needs says whether the package depends on another.
func (s *stanza) needs(name string) bool {
	return slices.Contains(strings.FieldsFunc(s.Depends, func(r rune) bool { return strings.ContainsRune(" ,|(", r) }), name)
}

// deb is a package file in an archive. Its JSON is a Ref's locator.
type deb struct {
	Archive string `json:"archive"`
	File    string `json:"file"` // below the archive's root
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"` // bytes
}

// debsDigest returns the package's digest, or one over the sorted digests of
// several.
func debsDigest(debs []deb) string {
	if len(debs) == 1 {
		return kernel.DigestPrefix + debs[0].SHA256
	}
	var sums []string
	for _, d := range debs {
		sums = append(sums, d.SHA256)
	}
	return kernel.DigestOfAll(sums)
}

// parseLocator reads a Ref's packages and checks that its digest is theirs. The
// Ref may come from a plan that someone else wrote.
func parseLocator(ref kernel.Ref) ([]deb, error) {
	var debs []deb
	if err := json.Unmarshal([]byte(ref.Locator), &debs); err != nil {
		return nil, fmt.Errorf("locator does not name Debian packages: %w", err)
	}
	if len(debs) == 0 || len(debs) > 8 {
		return nil, fmt.Errorf("locator names %d packages", len(debs))
	}
	for _, d := range debs {
		if _, err := kernel.DigestHex(kernel.DigestPrefix + d.SHA256); err != nil {
			return nil, err
		}
		if !validFilename(d.File) || d.Archive != archiveMain && d.Archive != archiveSecurity || d.Size <= 0 || d.Size > unpack.MaxArchive {
			return nil, fmt.Errorf("locator is not valid: %q", ref.Locator)
		}
	}
	if got := debsDigest(debs); got != ref.Digest {
		return nil, &kernel.DigestError{What: "the locator's list of packages", Want: ref.Digest, Got: got}
	}
	return debs, nil
}
