package kernel

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const specHelp = "expected debian:<suite>[:<flavour>], such as debian:bookworm:cloud-amd64, another distribution such as ubuntu:noble or fedora:43, gs://<bucket>[/<prefix>], rpm:<URL>, oci://<registry>/<repository>, a directory of kernels, or a kernel image"

// Parse turns a --kernels value into a Source. It reads nothing but whether a
// path exists; a value that can mean nothing is a *UsageError.
func Parse(spec string, cache *Cache) (Source, error) {
	if spec == "" || strings.ContainsRune(spec, 0) {
		return nil, usagef("kernel source %q is not valid: %s", spec, specHelp)
	}
	scheme, rest, ok := strings.Cut(spec, ":")
	if parse := schemes()[scheme]; ok && parse != nil {
		return parse(spec, rest, runtime.GOARCH, cache)
	}
	if ok && schemeRE.MatchString(scheme) {
		if _, err := os.Lstat(spec); err != nil {
			return nil, usagef("kernel source %q is not known%s: %s", spec, Suggest(scheme, schemeNames()), specHelp)
		}
	}
	path, err := filepath.Abs(spec)
	if err != nil {
		return nil, &UsageError{Msg: "find the kernel directory", Err: err}
	}
	dir := dirSource{spec: spec, path: path, cache: cache}
	if archiveStem(filepath.Base(path)) != "" {
		return &tarSource{dir}, nil
	}
	return &dir, nil
}

var schemeRE = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)

// Suggest returns `, did you mean "x"?` for the nearest of the valid words, ""
// when none is near.
func Suggest(word string, valid []string) string {
	best, dist := "", 3
	for _, v := range valid {
		// Of two that are as near, a letter is changed in one and missing in the
		// other: the first is likelier.
		d := editDistance(word, v)
		if d < len(v) && (d < dist || d == dist && best != "" && len(best) != len(word) && len(v) == len(word)) {
			best, dist = v, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean \"" + best + "\"?"
}

func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost++
			}
			prev = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// sortRefs orders refs by ID and makes IDs unique: the same bytes under one ID
// are one kernel, other bytes get a suffix from their digest.
func sortRefs(refs []Ref) []Ref {
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
			if hex, err := digestHex(r.Digest); err == nil {
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
