// Package source knows all kinds of kernel sources: it parses specs and list
// files into values of [kernel.Source]. A new kind gets its line in Schemes.
// Nothing below shard/kernel may import it, for it imports every source.
package source

import (
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/apt"
	"github.com/elastic/bpf-kernel-check/shard/kernel/archive"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcs"
	"github.com/elastic/bpf-kernel-check/shard/kernel/oci"
	"github.com/elastic/bpf-kernel-check/shard/kernel/repo"
)

// Parse turns a --kernels value into a Source. It reads nothing but whether a
// path exists; a value that can mean nothing is a *UsageError.
//
// A source's name, in plans and errors, has none of the spec's secrets.
func Parse(spec string, cache *kernel.Cache) (kernel.Source, error) {
	return parse(spec, runtime.GOARCH, cache)
}

func parse(spec, arch string, cache *kernel.Cache) (kernel.Source, error) {
	s, err := parseSpec(spec, arch, cache)
	if err != nil && report.Redact(err.Error()) != err.Error() {
		err = &kernel.UsageError{Msg: report.Redact(err.Error())}
	}
	return s, err
}

func parseSpec(spec, arch string, cache *kernel.Cache) (kernel.Source, error) {
	if spec == "" || strings.ContainsRune(spec, 0) {
		return nil, kernel.Usagef("kernel source %q is not valid: %s", spec, kernel.SpecHelp)
	}
	scheme, rest, ok := strings.Cut(spec, ":")
	if parse := Schemes()[scheme]; ok && parse != nil {
		return parse(report.Redact(spec), rest, arch, cache)
	}
	if ok && kernel.SchemeRE.MatchString(scheme) {
		if _, err := os.Lstat(spec); err != nil {
			return nil, kernel.Usagef("kernel source %q is not known%s: %s", spec, kernel.Suggest(scheme, schemeNames()), kernel.SpecHelp)
		}
	}
	return archive.New(spec, cache)
}

// parser reads what follows "<scheme>:" in a spec.
type parser func(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error)

// Schemes are the sources that are told by the word before the first colon.
func Schemes() map[string]parser {
	all := map[string]parser{"debian": apt.ParseDebian, "ubuntu": apt.ParseUbuntu, "apt": apt.ParseAny, "rpm": repo.ParseRPM, "arch": repo.ParseArch, "oci": oci.Parse, "gs": gcs.Parse}
	for _, d := range repo.Distros() {
		all[d.Name] = d.Parse
	}
	return all
}

func schemeNames() []string {
	var names []string
	for name := range Schemes() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// CheckGlobs returns a *UsageError for the first glob that
// [report.MatchKernel] cannot read.
func CheckGlobs(globs []string) error {
	for _, g := range globs {
		if err := report.CheckKernelGlob(g); err != nil {
			return kernel.Usagef("%v", err)
		}
	}
	return nil
}

// Needs says what the sources need that specs name, as for [ParseAll]. Where
// one cannot be read it is nothing: ParseAll says why.
func Needs(specs []string) []kernel.Need {
	sources, err := ParseAll(specs, nil) // a source uses its cache when it is listed
	if err != nil {
		return nil
	}
	var all []kernel.Need
	for _, s := range sources {
		if line, ok := s.(*lineSource); ok {
			s = line.Source
		}
		needy, ok := s.(interface{ Needs() []kernel.Need })
		if !ok {
			continue
		}
		for _, n := range needy.Needs() {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}
