package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sampleSizes are the sizes asserted at the end of bpf/sample.h, by type as
// in enum event_type; file samples come in three sizes.
func sampleSizes(typ string) int {
	switch typ {
	case typeFork:
		return 4528
	case typeExec:
		return 21136
	case typeExit, typeShmget:
		return 80
	case typeSetsid, typeSetuid, typeSetgid:
		return 64
	case typeTTYWrite:
		return 4176
	case typeMemfdCreate:
		return 320
	case typePtrace:
		return 72
	case typeLoadModule:
		return 248
	case typeFileCreate, typeFileMemfdOpen, typeFileShmemOpen:
		return 4520
	case typeFileDelete, typeFileModify:
		return 5544
	case typeFileRename:
		return 9896
	}
	return 120
}

func typeNumber(typ string) uint32 { return uint32(slices.Index(typeNames[:], typ) + 1) }

// A sampleBuilder writes a sample as the BPF programs do.
type sampleBuilder struct{ bytes.Buffer }

func newSample(typ string, p pids, comm string) *sampleBuilder {
	b := &sampleBuilder{}
	b.put(typeNumber(typ), uint32(0))
	b.pids(p)
	b.text(commSize, comm)
	return b
}

func (b *sampleBuilder) put(fields ...any) {
	for _, f := range fields {
		_ = binary.Write(b, binary.NativeEndian, f)
	}
}

func (b *sampleBuilder) pids(p pids) {
	b.put(p)
}

func (b *sampleBuilder) creds(c creds) { b.put(c) }

func (b *sampleBuilder) tty(t tty) { b.put(t) }

// text fills what is left of size with bytes that must not be seen.
func (b *sampleBuilder) text(size int, s string) {
	b.WriteString(s)
	b.WriteByte(0)
	b.Write(bytes.Repeat([]byte{0xaa}, size-len(s)-1))
}

// zeroSample is a sample of a type with all fields zero.
func zeroSample(typ string) []byte {
	b := make([]byte, sampleSizes(typ))
	binary.NativeEndian.PutUint32(b, typeNumber(typ))
	return b
}

var (
	testPIDs  = pids{TID: 12, TGID: 11, PPID: 10, PGID: 9, SID: 8, StartTimeNS: 7e9}
	testCreds = creds{
		RUID: 1, RGID: 2, EUID: 3, EGID: 4, SUID: 5, SGID: 6,
		CapPermitted: 1<<41 - 1, CapEffective: 0xf0f0f0f0,
	}
	testTTY = tty{Major: 4, Minor: 64, Rows: 25, Cols: 80}
)

func TestDecodeSample(t *testing.T) {
	fork := newSample(typeFork, testPIDs, "parent")
	fork.pids(pids{TID: 13, TGID: 13, PPID: 11})
	fork.creds(testCreds)
	fork.tty(testTTY)
	fork.put([7]uint32{1, 2, 3, 4, 5, 6, 7}, [2]uint16{8, pathReached})
	fork.text(pathSize, "tmp\x00var")

	exec := newSample(typeExec, testPIDs, "do_nothing")
	exec.creds(testCreds)
	exec.tty(tty{})
	exec.put(uint32(0o104755), uint32(1), uint32(0), uint32(13), uint32(21))
	exec.put([2]uint16{0, pathReached}, [2]uint16{11, pathReached}, uint32(0))
	exec.text(pathSize, "")
	exec.text(pathSize, "do_nothing")
	exec.text(argsSize, "./do_nothing\x00A=1\x00B=2")

	rename := newSample(typeFileRename, testPIDs, "mv")
	rename.creds(testCreds)
	rename.put([2]uint32{77, 0}, [5]uint64{4, 9, 100, 101, 102})
	rename.put([4]uint32{0o120777, 1, 2, 3}, [2]uint16{8, pathReached}, [2]uint16{2, pathReached | pathTruncated})
	rename.text(pathSize, "foo\x00tmp")
	rename.text(linkSize, "to")
	rename.text(pathSize, "b")
	oldPath, newPath := "/tmp/foo", ".../b"

	closed := newSample(typeNetClosed, testPIDs, "tcp")
	closed.put(uint32(afINET), uint32(99), uint16(2048), uint16(34286), uint32(0))
	closed.put([16]byte{127, 0, 0, 1, 0xaa}, [16]byte{10, 0, 0, 2, 0xaa}, uint64(5), uint64(6))
	sent, received := uint64(5), uint64(6)

	write := newSample(typeTTYWrite, testPIDs, "tty_write")
	write.tty(testTTY)
	write.put(uint32(7), uint32(0))
	write.text(ttyOutSize, "--- OK\n")

	memfd := newSample(typeMemfdCreate, testPIDs, "x")
	memfd.put(uint32(mfdCloexec|mfdExec), uint32(11))
	memfd.text(nameSize, "IceIceBaby")

	tests := []struct {
		name   string
		sample []byte
		want   event
	}{
		{"fork", fork.Bytes(), forkEvent{
			common: common{typeFork}, Parent: testPIDs, Child: pids{TID: 13, TGID: 13, PPID: 11},
			Creds: testCreds, CTTY: testTTY, Comm: "parent",
			Namespaces: namespaces{UTS: 1, IPC: 2, Mnt: 3, Net: 4, Cgroup: 5, Time: 6, PID: 7},
			CWD:        "/var/tmp",
		}},
		{"exec of a setuid file", exec.Bytes(), execEvent{
			common: common{typeExec}, PIDs: testPIDs, Creds: testCreds, Comm: "do_nothing",
			Setuid: true, NLink: 1, Argv: []string{"./do_nothing"}, Env: []string{"A=1", "B=2"},
			CWD: "/", Filename: "/do_nothing",
		}},
		{"rename of a link", rename.Bytes(), fileEvent{
			common: common{typeFileRename}, PIDs: testPIDs, Creds: testCreds, MountNamespace: 77, Comm: "mv",
			Info: fileInfo{
				Type: "SYMLINK", Inode: 4, Mode: 0o120777, Size: 9, UID: 1, GID: 2,
				ATime: 100, MTime: 101, CTime: 102,
			},
			OldPath: &oldPath, NewPath: &newPath, SymlinkTarget: "to",
		}},
		{"close", closed.Bytes(), netEvent{common{typeNetClosed}, testPIDs, connection{
			Transport: "TCP", Family: "AF_INET", SourceAddress: "127.0.0.1", SourcePort: 2048,
			DestinationAddress: "10.0.0.2", DestinationPort: 34286, NetworkNamespace: 99,
			BytesSent: &sent, BytesReceived: &received,
		}, "tcp"}},
		{"tty write", write.Bytes(), ttyWriteEvent{
			common: common{typeTTYWrite}, PIDs: testPIDs, TTY: testTTY, Comm: "tty_write", Out: "--- OK\n",
		}},
		{"memfd_create", memfd.Bytes(), memfdCreateEvent{
			common: common{typeMemfdCreate}, PIDs: testPIDs, Flags: 0x11,
			CloseOnExec: true, Exec: true, Filename: "IceIceBaby",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeSample(tt.sample)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(
				forkEvent{}, execEvent{}, fileEvent{}, netEvent{}, ttyWriteEvent{}, memfdCreateEvent{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDecodeSampleErrors(t *testing.T) {
	for _, typ := range typeNames {
		whole := zeroSample(typ)
		if _, err := decodeSample(whole); err != nil {
			t.Errorf("%s: whole sample: %v", typ, err)
		}
		if _, err := decodeSample(whole[:len(whole)-1]); !errors.Is(err, errShort) {
			t.Errorf("%s: a byte short: got %v, want %v", typ, err, errShort)
		}
		if _, err := decodeSample(append(whole, 0)); err == nil {
			t.Errorf("%s: a byte too many: no error", typ)
		}
	}
	long := zeroSample(typeTTYWrite)
	binary.NativeEndian.PutUint32(long[72:], ttyOutSize+1)
	if _, err := decodeSample(long); !errors.Is(err, errLength) {
		t.Errorf("length beyond the field: got %v, want %v", err, errLength)
	}
	for _, b := range [][]byte{nil, {1}, make([]byte, 100), bytes.Repeat([]byte{0xff}, 100)} {
		if _, err := decodeSample(b); err == nil {
			t.Errorf("% x: no error", b[:min(8, len(b))])
		}
	}
}

func TestJoinPath(t *testing.T) {
	tests := []struct {
		parts string
		flags uint16
		want  string
	}{
		{"", pathReached, "/"},
		{"", 0, "."}, // a memfd, as EventsTrace prints it
		{"foo\x00tmp\x00", pathReached, "/tmp/foo"},
		{"foo\x00tmp\x00", 0, "/tmp/foo"},
		{"foo\x00tmp\x00", pathTruncated, ".../tmp/foo"},
		{"no end", pathReached, "/no end"},
	}
	for _, tt := range tests {
		if got := joinPath([]byte(tt.parts), tt.flags); got != tt.want {
			t.Errorf("joinPath(%q, %d) = %q, want %q", tt.parts, tt.flags, got, tt.want)
		}
	}
}

// FuzzDecodeSample: no sample makes the decoder panic, and what it accepts is
// one line of JSON.
func FuzzDecodeSample(f *testing.F) {
	for _, typ := range typeNames {
		f.Add(zeroSample(typ))
		f.Add(append(zeroSample(typ)[:8], bytes.Repeat([]byte{0xff}, sampleSizes(typ)-8)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := decodeSample(b)
		if err != nil {
			return
		}
		line, err := encodeLine(ev)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Errorf("not one line: %q", line)
		}
	})
}
