package ldso

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// elfFile describes an ELF file of a test. It has no section headers, as one that
// was stripped of all that the dynamic linker does without.
type elfFile struct {
	machine elf.Machine
	interp  string
	dynamic [][2]string // tag's name, text
	extra   string
}

func (e elfFile) bytes() []byte {
	const base, headers = 0x400000, 64 + 3*56
	var names bytes.Buffer
	names.WriteByte(0)
	text := func(s string) uint64 {
		at := uint64(names.Len())
		names.WriteString(s + "\x00")
		return at
	}
	interp := text(e.interp)
	tags := map[string]elf.DynTag{"NEEDED": elf.DT_NEEDED, "RPATH": elf.DT_RPATH, "RUNPATH": elf.DT_RUNPATH, "SONAME": elf.DT_SONAME}
	var dynamic []uint64
	for _, d := range e.dynamic {
		dynamic = append(dynamic, uint64(tags[d[0]]), text(d[1]))
	}
	names.WriteString(e.extra)
	strtab := uint64(headers + 8*(len(dynamic)+4))
	dynamic = append(dynamic, uint64(elf.DT_STRTAB), base+strtab, uint64(elf.DT_NULL), 0)
	size := strtab + uint64(names.Len())

	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(e.machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 3,
	}
	if e.machine == 0 {
		header.Machine = uint16(elf.EM_X86_64)
	}
	progs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Vaddr: base, Filesz: size, Memsz: size},
		{Type: uint32(elf.PT_DYNAMIC), Off: headers, Vaddr: base + headers, Filesz: uint64(8 * len(dynamic))},
		{Type: uint32(elf.PT_INTERP), Off: strtab + interp, Filesz: uint64(len(e.interp) + 1)},
	}
	if e.interp == "" {
		progs[2].Type = uint32(elf.PT_NULL)
	}
	var b bytes.Buffer
	for _, part := range []any{header, progs, dynamic} {
		_ = binary.Write(&b, binary.LittleEndian, part)
	}
	b.Write(names.Bytes())
	return b.Bytes()
}

// cacheEntry is a line of a cache of libraries.
type cacheEntry struct {
	name, path string
	hwcap      uint64
}

// cacheOf writes a cache as ldconfig does, behind one of the old format if old is
// set.
func cacheOf(old bool, entries ...cacheEntry) []byte {
	var b, names bytes.Buffer
	b.WriteString("glibc-ld.so.cache1.1")
	start := uint32(48 + 24*len(entries))
	write := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	write(uint32(len(entries)))
	write([6]uint32{})
	for _, e := range entries {
		at := start + uint32(names.Len())
		names.WriteString(e.name + "\x00" + e.path + "\x00")
		write([4]uint32{0x303, at, at + uint32(len(e.name)) + 1, 0})
		write(e.hwcap)
	}
	b.Write(names.Bytes())
	if old {
		return append([]byte("ld.so-1.7.0\x00\x00\x00\x00\x00"), b.Bytes()...)
	}
	return b.Bytes()
}

const (
	glibc = "/lib64/ld-linux-x86-64.so.2"
	musl  = "/lib/ld-musl-x86_64.so.1"
)

// Strings of an interpreter as Debian builds it.
const debian = "x\x00/lib/x86_64-linux-gnu/\x00/usr/lib/x86_64-linux-gnu/\x00/lib/\x00/usr/lib/\x00lib/x86_64-linux-gnu\x00"

func needs(names ...string) (d [][2]string) {
	for _, n := range names {
		d = append(d, [2]string{"NEEDED", n})
	}
	return d
}

func library(names ...string) []byte { return elfFile{dynamic: needs(names...)}.bytes() }

func TestProgram(t *testing.T) {
	program := func(dynamic ...[2]string) elfFile { return elfFile{interp: glibc, dynamic: dynamic} }
	need := func(name string) [2]string { return [2]string{"NEEDED", name} }
	runpath := func(p string) [2]string { return [2]string{"RUNPATH", p} }
	rpath := func(p string) [2]string { return [2]string{"RPATH", p} }
	arm := elfFile{machine: elf.EM_AARCH64}.bytes()
	tests := []struct {
		name    string
		program elfFile
		files   map[string][]byte // beside the interpreter, at /home/build/bin/p
		path    []string
		want    []string // GUEST=HOST, or GUEST alone where they are the same
		err     string
	}{
		{"nothing needed", program(), nil, nil, nil, ""},
		{"static", elfFile{}, nil, nil, []string{"-"}, ""},
		{"breadth first, each once", program(need("a"), need("b")), map[string][]byte{
			"/lib/x86_64-linux-gnu/a": library("c", "b"), "/usr/lib/x86_64-linux-gnu/b": library("a"), "/lib/c": library("ld-linux-x86-64.so.2"),
		}, nil, []string{"/lib/x86_64-linux-gnu/a", "/usr/lib/x86_64-linux-gnu/b", "/lib/c"}, ""},
		{"a library of another machine is passed over", program(need("a")), map[string][]byte{
			"/lib/x86_64-linux-gnu/a": arm, "/usr/lib/x86_64-linux-gnu/a": []byte("GROUP ( a )"), "/lib/a": library(),
		}, nil, []string{"/lib/a"}, ""},
		{
			"a directory that this glibc does not search", program(need("a")),
			map[string][]byte{"/lib64/a": library()},
			nil, nil,
			`needs a`,
		},
		{"the cache, and in a directory of its own", program(need("a"), need("b"), need("c")), map[string][]byte{
			"/etc/ld.so.cache": cacheOf(false, cacheEntry{"a", "/opt/x/a", 0}, cacheEntry{"b", "/lib/hw/b", 1 << 62}, cacheEntry{"b", "/lib/b", 0}, cacheEntry{"c", "/usr/lib/c", 0}),
			"/opt/x/a":         library(), "/lib/hw/b": library("hw"), "/lib/b": library(), "/usr/lib/c": library(), "/lib/c": library("wrong"),
		}, nil, []string{"/lib/x86_64-linux-gnu/a=/opt/x/a", "/lib/b", "/usr/lib/c"}, ""},
		{"an old cache", program(need("a")), map[string][]byte{
			"/etc/ld.so.cache": cacheOf(true, cacheEntry{"a", "/lib/32/a", 0}, cacheEntry{"a", "/opt/a", 0}), "/lib/32/a": arm, "/opt/a": library(),
		}, nil, []string{"/lib/x86_64-linux-gnu/a=/opt/a"}, ""},
		{
			"a damaged cache", program(need("a")),
			map[string][]byte{"/etc/ld.so.cache": cacheOf(false, cacheEntry{"a", "/opt/a", 0})[:60], "/lib/a": library()},
			nil,
			[]string{"/lib/a"},
			"",
		},
		{
			"RUNPATH", program(need("a"), runpath("/opt/one:/opt/two")),
			map[string][]byte{"/opt/two/a": library(), "/lib/a": library("wrong")},
			nil,
			[]string{"/opt/two/a"},
			"",
		},
		{
			"RUNPATH is not inherited", program(need("a"), runpath("/opt")),
			map[string][]byte{"/opt/a": library("b"), "/opt/b": library("wrong"), "/lib/b": library()},
			nil,
			[]string{"/opt/a", "/lib/b"},
			"",
		},
		{
			"RPATH is", program(need("a"), rpath("/opt")),
			map[string][]byte{"/opt/a": library("b"), "/opt/b": library(), "/lib/b": library("wrong")},
			nil,
			[]string{"/opt/a", "/opt/b"},
			"",
		},
		{"not by who has a RUNPATH", program(need("a"), rpath("/opt")), map[string][]byte{
			"/opt/a": elfFile{dynamic: [][2]string{need("b"), runpath("/none")}}.bytes(), "/opt/b": library("wrong"), "/lib/b": library(),
		}, nil, []string{"/opt/a", "/lib/b"}, ""},
		{
			"RPATH beside a RUNPATH is nothing", program(need("a"), rpath("/opt"), runpath("/none")),
			map[string][]byte{"/opt/a": library("wrong"), "/lib/a": library()},
			nil,
			[]string{"/lib/a"},
			"",
		},
		{"RPATH, --library-path, RUNPATH", program(need("a"), rpath("/r")), map[string][]byte{
			"/r/a": elfFile{dynamic: [][2]string{need("b"), runpath("/run")}}.bytes(), "/l/a": library("wrong"), "/l/b": library(), "/run/b": library("wrong"),
		}, []string{"/l"}, []string{"/r/a", "/lib/x86_64-linux-gnu/b=/l/b"}, ""},
		{"$ORIGIN, here and there", program(need("a"), runpath("$ORIGIN/../lib")), map[string][]byte{
			"/home/build/lib/a": elfFile{dynamic: [][2]string{need("b"), runpath("${ORIGIN}/sub")}}.bytes(), "/home/build/lib/sub/b": library(),
		}, nil, []string{"/srv/lib/a=/home/build/lib/a", "/srv/lib/sub/b=/home/build/lib/sub/b"}, ""},
		{"$LIB and $PLATFORM", program(need("a"), runpath("/opt/$LIB:/opt/${PLATFORM}"), need("b")), map[string][]byte{
			"/opt/lib/x86_64-linux-gnu/a": library(), "/opt/x86_64/b": library(),
		}, nil, []string{"/opt/lib/x86_64-linux-gnu/a", "/opt/x86_64/b"}, ""},
		{
			"a path", program(need("$ORIGIN/a"), need("/opt/b")),
			map[string][]byte{"/home/build/bin/a": library(), "/opt/b": library()},
			nil,
			[]string{"/srv/bin/a=/home/build/bin/a", "/opt/b"},
			"",
		},
		{
			"a place that the guest cannot have", program(need("a"), runpath("/tmp/build")),
			map[string][]byte{"/tmp/build/a": library()},
			nil,
			[]string{"/lib/x86_64-linux-gnu/a=/tmp/build/a"},
			"",
		},
		{
			"the current directory", program(need("a"), need("b/c"), runpath("x:")),
			map[string][]byte{"/a": library(), "/x/a": library()},
			nil, nil,
			`needs a, b/c`,
		},
		{"what glibc opens by name", program(need("libc.so.6")), map[string][]byte{
			"/lib/libc.so.6": elfFile{extra: "GLIBC_2.34\x00"}.bytes(), "/lib/libgcc_s.so.1": library("libc.so.6"), "/lib/libnss_files.so.2": library(),
		}, nil, []string{"/lib/libc.so.6", "/lib/libgcc_s.so.1"}, ""},
		{"what an old one does, with what that needs, or without", program(need("libc.so.6")), map[string][]byte{
			"/lib/libc.so.6": library(), "/lib/libnss_files.so.2": library(), "/lib/libnss_dns.so.2": library("r", "gone"), "/lib/r": library(),
		}, nil, []string{"/lib/libc.so.6", "/lib/libnss_files.so.2", "/lib/libnss_dns.so.2", "/lib/r"}, ""},
		{"one that is there by its own name", program(need("a.so"), need("b")), map[string][]byte{
			"/lib/a.so": elfFile{dynamic: [][2]string{{"SONAME", "a.so.1"}}}.bytes(), "/lib/b": library("a.so.1"),
		}, nil, []string{"/lib/a.so", "/lib/b"}, ""},
		{"too much", program(need("a")), map[string][]byte{"/lib/a": library()}, nil, nil, `needs /lib/a, and with it more than 2048 MiB of libraries: strip them`},
		{
			"missing", program(need("a"), need("gone")),
			map[string][]byte{"/lib/a": library("b", "gone2"), "/lib/b": library("gone3")},
			nil, nil,
			`needs gone, gone2 (needed by a), gone3 (needed by b)`,
		},
		{"no interpreter", elfFile{interp: "/nix/store/glibc/ld.so"}, nil, nil, nil, `needs the interpreter /nix/store/glibc/ld.so`},
		{"a relative one", elfFile{interp: "ld.so"}, nil, nil, nil, `has the interpreter "ld.so", and the guest has no such place: link it statically`},
		{"one that the guest cannot have", elfFile{interp: "/tmp/ld.so"}, nil, nil, nil, `the guest has no such place`},
		{"one of another directory", elfFile{interp: "/lib/ld-other.so.1", dynamic: needs("a")}, map[string][]byte{
			"/sys/root/ld-other.so.1": elfFile{extra: "\x00/lib64/\x00"}.bytes(), "/sys/root/a": library(),
		}, []string{"/sys/root"}, []string{"/lib/ld-other.so.1=/sys/root/ld-other.so.1", "/lib64/a=/sys/root/a"}, ""},
		{"a damaged library", program(need("a")), map[string][]byte{"/lib/a": elfFile{dynamic: needs("a\nb")}.bytes()}, nil, nil, `needs /lib/a, which is damaged`},
		{"musl", elfFile{interp: musl, dynamic: [][2]string{need("a"), need("libc.musl-x86_64.so.1"), need("libpthread.so.0"), need("s"), runpath("$ORIGIN")}}, map[string][]byte{
			musl: library(), "/home/build/bin/a": library("b", "c"), "/home/build/bin/b": library(), "/usr/local/lib/c": library(),
			"/etc/ld-musl-x86_64.path": []byte("/opt/musl:/x\n/y"), "/y/s": library(),
		}, nil, []string{musl, "/srv/bin/a=/home/build/bin/a", "/lib/s=/y/s", "/srv/bin/b=/home/build/bin/b", "/usr/local/lib/c"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			files := map[string][]byte{glibc: elfFile{extra: debian}.bytes()}
			maps.Copy(files, tt.files)
			if err := os.MkdirAll(root+"/home/build/bin", 0o755); err != nil {
				t.Fatal(err)
			}
			for name, data := range files {
				if err := errors.Join(os.MkdirAll(filepath.Dir(root+name), 0o755), os.WriteFile(root+name, data, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			s := Search{Arch: goarch.Lookup("amd64"), Path: tt.path, root: root, Hidden: func(p string) bool { return strings.HasPrefix(p, "/tmp/") }}
			if tt.name == "too much" {
				if err := os.Truncate(root+"/lib/a", maxSize+1); err != nil {
					t.Fatal(err)
				}
			}
			found, err := s.Program("/home/build/bin/p", "/srv/bin/p", tt.program.bytes())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{} // to the data
			order := []string{tt.program.interp}
			if tt.program.interp == glibc {
				want[glibc] = string(files[glibc])
			}
			for _, w := range tt.want {
				guest, host, ok := strings.Cut(w, "=")
				if !ok {
					host = guest
				}
				want[guest] = string(files[host])
				if guest != order[0] {
					order = append(order, guest)
				}
			}
			if tt.program.interp == "" {
				want, order = map[string]string{}, nil
			}
			got := map[string]string{}
			var paths []string
			for _, f := range found {
				got[f.Path] = string(f.Data)
				paths = append(paths, f.Path)
			}
			if d := cmp.Diff(order, paths); d != "" {
				t.Errorf("paths (-want +got):\n%s", d)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
}

// What is found of this machine's own programs is what its dynamic linker finds.
func TestAgainstLdSo(t *testing.T) {
	for _, name := range []string{"sh", "gcc", "git"} {
		t.Run(name, func(t *testing.T) {
			at, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			s := Search{Arch: goarch.Lookup(runtime.GOARCH)}
			interp := s.Interpreter(b)
			if interp == "" {
				t.Fatal("no dynamic program")
			}
			files, err := s.Program(at, "/payload/p", b)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(interp, "--list", at).Output()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(out)) {
				fields := strings.Fields(line) // libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)
				if len(fields) != 4 {
					continue
				}
				data, err := os.ReadFile(fields[2])
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(files, func(f File) bool {
					return filepath.Base(f.Path) == fields[0] && bytes.Equal(f.Data, data)
				}) {
					t.Errorf("not found: %s", line)
				}
			}
		})
	}
}

func FuzzParseCache(f *testing.F) {
	f.Add(cacheOf(false, cacheEntry{"a", "/lib/a", 0}, cacheEntry{"b", "/lib/b", 1}))
	f.Add(cacheOf(true, cacheEntry{"a", "/lib/a", 0}))
	f.Add([]byte("glibc-ld.so.cache1.1"))
	if b, err := os.ReadFile("/etc/ld.so.cache"); err == nil {
		f.Add(b[:min(len(b), 4096)])
	} else if !errors.Is(err, fs.ErrNotExist) {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, paths := range parseCache(b) {
			for _, p := range append(paths, "/"+name) {
				if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\x00\n") {
					t.Errorf("%q: %q", name, p)
				}
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(elfFile{interp: glibc, dynamic: needs("a", "b")}.bytes())
	f.Add(elfFile{dynamic: [][2]string{{"RPATH", "a:b"}, {"RUNPATH", "$ORIGIN"}}}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parse(b)
		if err != nil {
			return
		}
		for _, s := range slices.Concat([]string{o.interp}, o.needed, o.rpath, o.runpath) {
			if strings.ContainsAny(s, "\x00\n") {
				t.Errorf("%q", s)
			}
		}
		if text := fmt.Sprint(o.needed); len(o.needed) > maxObjects {
			t.Error(text)
		}
	})
}
