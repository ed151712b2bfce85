// Package preflight says, without booting anything, what of the things that BPF
// objects depend on a kernel has.
//
// [Read] takes an object apart into dependencies, [Load] a kernel into its types
// (BTF), symbols and build options, and [Check] holds one against the other.
// Only what is proven counts as present: where the kernel's files do not tell,
// the answer is [Unknown].
//
// The words for what can be wrong are those of the DepSurf study (Zhong et al.,
// "Revealing the Unstable Foundations of eBPF-Based Kernel Extensions", EuroSys
// 2025). Two of its kinds cannot be told from a kernel's files alone, as they
// need debug information: a function that is inlined everywhere looks like one
// that is absent, and one that is inlined at some of its callers (selective
// inlining) like one that is present.
//
// Objects and kernels are hostile input.
package preflight

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Status is what is known of a dependency on a kernel.
type Status uint8

// The statuses.
const (
	Unknown     Status = iota // the kernel's files do not tell, or a module may have it
	Present                   // as far as the object can see, as it wants it
	Absent                    // not there
	Changed                   // there, and not what the object takes it for
	Inlined                   // part of the function stands in its callers (partial inlining: name.part.0)
	Transformed               // only copies made by the compiler are there (name.isra.0, name.constprop.0)
	Duplicated                // several functions have the name
)

var statuses = [...]string{"unknown", "present", "absent", "changed", "inlined", "transformed", "duplicated"}

func (s Status) String() string {
	if int(s) >= len(statuses) {
		return statuses[Unknown]
	}
	return statuses[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Loads says whether a program will load, or whether it can be attached where its
// section says.
type Loads uint8

// The answers.
const (
	MayLoad  Loads = iota // not known
	WillLoad              // nothing that it depends on is missing; the verifier's opinion is not known
	WillNot
)

func (l Loads) String() string {
	switch l {
	case WillLoad:
		return "yes"
	case WillNot:
		return "no"
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler.
func (l Loads) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// worse is the answer for what needs both.
func (l Loads) worse(m Loads) Loads {
	switch {
	case l == WillNot || m == WillNot:
		return WillNot
	case l == MayLoad || m == MayLoad:
		return MayLoad
	}
	return WillLoad
}

// Kinds of dependencies, but for targets, which are named as in their section:
// fentry, kprobe, tracepoint ...
const (
	kindType    = "type"
	kindField   = "field"
	kindValue   = "enum value"
	kindKfunc   = "kfunc"
	kindKsym    = "ksym"
	kindMember  = "struct_ops"
	kindMap     = "map type"
	kindMapSize = "map" // whose definition says too little
	kindProgram = "program type"
	kindAttach  = "attach type"
	kindHelper  = "helper"
	kindConfig  = "kconfig"
	kindFlag    = "flag"
	kindSleep   = "sleepable"
	kindUnknown = "section"
	kindObject  = "object" // itself
	// What a kernel's instructions are no file tells.
	kindInstruction = "instruction"
)

// Dep is something of the kernel's that an object depends on.
type Dep struct {
	Kind     string   `json:"kind"`
	Name     string   `json:"name"`
	Programs []string `json:"programs"` // that depend on it, as "object/program" or "object/map:name"

	n        int           // its place in Object.Deps
	attaches bool          // only matters when the program is attached
	def      *ebpf.MapSpec // of a map whose definition says too little
	since    string        // of an instruction or a sleepable program: the mainline version that brought it
	number   int           // of a helper, map type, program type or attach type
	weak     bool          // the object does without
	want     string        // of a field: its type in the object
	tested   bool          // the object asks whether it is there
	local    local         // of a field: where it is in the object's types
}

func (d Dep) String() string { return d.Kind + " " + d.Name }

// Answer is what a kernel has of a dependency.
type Answer struct {
	Status    Status   `json:"status"`
	Signature string   `json:"signature,omitempty"` // on this kernel, in C
	Want      string   `json:"want,omitempty"`      // what the object takes it for, when it is changed
	Note      string   `json:"note,omitempty"`
	Breaks    []string `json:"breaks,omitempty"`  // programs that will not load for it, or cannot be attached
	Unsure    []string `json:"unsure,omitempty"`  // programs that may not
	Was       string   `json:"was,omitempty"`     // the signature on the oldest kernel that has another
	Guarded   bool     `json:"guarded,omitempty"` // absent, and every program that wants it does without

	shape        string // the signature without the names of parameters
	unattachable bool   // programs load for it, and cannot be attached
	attachUnsure bool   // programs load for it, and may not be attached
	elsewhere    string // the name that only a module may have
}

// OnlyAttach says whether programs load all the same, and cannot be attached.
func (a Answer) OnlyAttach(d *Dep) bool { return d.attaches || a.unattachable }

// Program is what comes of a program on a kernel.
type Program struct {
	Name     string   `json:"name"` // "object/program"
	Loads    Loads    `json:"loads"`
	Attaches Loads    `json:"attaches"`           // where its section says, once it is loaded
	Mistaken []string `json:"mistaken,omitempty"` // dependencies that it takes for what they are not: it may load, and read something else
	Skip     string   `json:"skip,omitempty"`     // why it is not loaded unless its author's loader asks for it

	finds   []byte // digest of what it finds on the kernel, see Kind
	ownKind bool   // it depends on the last number of the release, which names of releases do not say
}

// ObjectError says why an object cannot be read.
type ObjectError struct {
	Path   string
	Reason string
}

func (e *ObjectError) Error() string {
	return fmt.Sprintf("object %q: %s: build it with clang -target bpf -g -O2 -c", e.Path, e.Reason)
}
