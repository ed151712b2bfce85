// Package kernel finds, fetches and unpacks the kernels to test.
//
// A [Source] lists kernels as [Ref] values, each pinned by a digest, and opens
// one of them as an [Image] in the [Cache]. Everything a source reads is taken
// as hostile: sizes are capped, names are never used as paths, and a digest is
// checked before the bytes are looked at.
package kernel

import (
	"context"
	"slices"
	"strings"
)

// Ref names one kernel of a source and pins its bytes. It is comparable and
// survives JSON, so that a plan made by one job can be opened by another that
// has the same source.
type Ref struct {
	Distro  string `json:"distro"`            // "debian", "amazonlinux2", "mainline"; safe as a path element
	Name    string `json:"name"`              // "<release>__<further identifiers>"; safe as a path element
	Release string `json:"release,omitempty"` // uname -r, where the listing tells
	Arch    string `json:"arch,omitempty"`    // as in GOARCH: "amd64", "arm64"; "" when unknown until opened
	Digest  string `json:"digest"`            // "sha256:<hex>" of the source's bytes; of several files: over their sorted digests
	Size    int64  `json:"size,omitempty"`    // bytes to fetch, 0 when local

	// What the listing tells beside, for people and tools; no verdict rests on it.
	Flavour string `json:"flavour,omitempty"` // as the distribution names it: "cloud-amd64", "rt"
	Package string `json:"package,omitempty"` // the source package and its version: "linux 6.1.176-1"
	Date    string `json:"date,omitempty"`    // day that it was built, or else published: "2026-11-12"
	Modules bool   `json:"modules,omitempty"` // it comes with loadable modules

	// Locator is what the source needs to find the kernel again; opaque to
	// everyone else. It never overrides Digest.
	Locator string `json:"locator,omitempty"`
}

// ID is the kernel's name in plans, reports and globs. As both parts went
// through [SafeName], it is also a safe relative path.
func (r Ref) ID() string { return r.Distro + "/" + r.Name }

// Source is a place that kernels come from.
type Source interface {
	// String returns the spec as the user wrote it, without its secrets.
	String() string
	// List returns the source's kernels, sorted by ID, without duplicates. A
	// source that is not there, unreadable or empty is a *UsageError; one bad
	// kernel among good ones is listed and fails in Open.
	List(ctx context.Context) ([]Ref, error)
	// Open fetches the kernel or finds it in the cache, checks its digest and
	// unpacks it. A kernel whose bytes are bad is a *BadKernelError.
	Open(ctx context.Context, ref Ref) (*Image, error)
}

// Need is something that sources use and that this program does not bring.
type Need struct {
	Path    string // a command's name, or an absolute path
	Package string // of Debian and Ubuntu, that has it
}

// SortRefs orders refs by ID and makes IDs unique: the same bytes under one ID
// are one kernel, other bytes get a suffix from their digest.
func SortRefs(refs []Ref) []Ref {
	byID := func(a, b Ref) int {
		return strings.Compare(a.ID()+"\x00"+a.Digest+"\x00"+a.Locator, b.ID()+"\x00"+b.Digest+"\x00"+b.Locator)
	}
	slices.SortFunc(refs, byID)
	seen := map[string]string{} // ID to digest
	out := refs[:0]
	for _, r := range refs {
		if d, ok := seen[r.ID()]; ok {
			if d == r.Digest {
				continue
			}
			suffix := r.Locator
			if hex, err := DigestHex(r.Digest); err == nil {
				suffix = hex[:8]
			}
			r.Name = SafeName(r.Name + "_" + suffix)
			if _, ok := seen[r.ID()]; ok {
				continue
			}
		}
		seen[r.ID()] = r.Digest
		out = append(out, r)
	}
	slices.SortFunc(out, byID)
	return out
}
