package wire

import (
	"path"
	"runtime/debug"
	"strings"
)

// ObjectsPath is where the payload's archive holds its Objects in the guest.
const ObjectsPath = "/objects.json"

// BTFPath is where a guest has the types of its kernel that --btf names. It is
// there where a file was found; only a kernel without BTF of its own uses it.
const BTFPath = "/kernel.btf"

// Loaders of BPF objects.
const (
	LoaderAuto   = "auto" // on the host only: what each object says about itself
	LoaderLibbpf = "libbpf"
	LoaderGo     = "ebpf-go"
	LoaderBoth   = "both" // an object must load with each of them
)

// LibbpfVersion names libbpf in results, as guest/libbpf/build takes it. A test
// holds it to the built program's own.
const LibbpfVersion = "libbpf 1.8"

// GoVersion names ebpf-go, which this program and the guest's loader share.
func GoVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/cilium/ebpf" {
				return LoaderGo + " " + m.Version
			}
		}
	}
	return LoaderGo
}

// What of an object is loaded at a time.
const (
	LoadEach  = "each"  // every program on its own
	LoadWhole = "whole" // all programs together, as an application does it
)

// Objects is a payload of BPF objects.
type Objects struct {
	Objects     []Object `json:"objects"`
	Loader      string   `json:"-"`      // that the user asked for, "" is LoaderAuto; each object has its own
	Load        string   `json:"load"`   // LoadEach or LoadWhole
	Attach      bool     `json:"attach"` // each program where it is possible
	Unsupported string   `json:"unsupported"`
	BTF         string   `json:"btf,omitempty"` // file in the guest with the kernel's types; "": the kernel's own

	Settings ObjectSettings `json:"settings"`
}

// Object is one BPF object.
type Object struct {
	Name     string   `json:"name"`             // first part of its tests' names
	Path     string   `json:"path"`             // in the guest
	Loader   string   `json:"loader"`           // LoaderLibbpf, LoaderGo or LoaderBoth
	Broken   string   `json:"broken,omitempty"` // why it cannot be loaded anywhere: its one test fails with this
	Warnings []string `json:"warnings,omitempty"`
}

// ObjectSettings is what the application that ships objects sets before it loads
// them. A name is that of a map, variable or program, or OBJECT/NAME where
// only one object's is meant.
type ObjectSettings struct {
	Maps         []MapSetting   `json:"maps,omitempty"`
	Variants     []Variant      `json:"variants,omitempty"`     // each is loaded; none: the objects' own values are
	Programs     []string       `json:"programs,omitempty"`     // patterns (path.Match) of those to load, !PATTERN leaves out; none: all that are loaded by default
	Alternatives [][]string     `json:"alternatives,omitempty"` // programs, of each group one must load
	Targets      []TargetOfProg `json:"targets,omitempty"`
}

// MapSetting is what is set of a map. Zero values are not set.
type MapSetting struct {
	Name       string `json:"name"`
	Type       string `json:"type,omitempty"` // as in "bpftool map": hash, percpu_array
	MaxEntries uint32 `json:"max_entries,omitempty"`
	KeySize    uint32 `json:"key_size,omitempty"`
	ValueSize  uint32 `json:"value_size,omitempty"`
	Flags      uint32 `json:"flags,omitempty"`
	Inner      string `json:"inner,omitempty"`  // of a map of maps: the map that its inner ones are like
	Pinned     bool   `json:"pinned,omitempty"` // the objects of a run that have it share it, as one pinned by its name
}

// Variant is one set of values for global variables, such as const volatile ones.
type Variant []Variable

// Variable is one value: a number, true, false, 'c' or "text".
type Variable struct {
	Name  string `json:"name"` // variable, with .member and [index] behind it
	Value string `json:"value"`
}

// TargetOfProg says what a program is loaded for: as if Section were its section.
type TargetOfProg struct {
	Program string `json:"program"`
	Section string `json:"section"` // such as fentry/do_exit
}

// Choice is what settings say of loading a program.
type Choice uint8

// Choices.
const (
	ByDefault Choice = iota // nothing
	Chosen
	LeftOut
)

// Choose says what Programs mean for a program. One that is excluded is never
// loaded.
func (s ObjectSettings) Choose(object, program string) Choice {
	c := ByDefault
	for _, p := range s.Programs {
		pattern, not := strings.CutPrefix(p, "!")
		switch matches := MatchesProgram(pattern, object, program); {
		case not && matches:
			return LeftOut
		case not:
		case matches:
			c = Chosen
		case c == ByDefault:
			c = LeftOut
		}
	}
	return c
}

// MatchesProgram says whether a pattern, PROGRAM or OBJECT/PROGRAM, means a
// program.
func MatchesProgram(pattern, object, program string) bool {
	if strings.Contains(pattern, "/") {
		program = object + "/" + program
	}
	ok, err := path.Match(pattern, program)
	return ok && err == nil
}
