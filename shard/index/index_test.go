package index

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// rawBTF is BTF with n functions, each of a struct of its own, from one on.
func rawBTF(tb testing.TB, order binary.ByteOrder, from, n int) []byte {
	tb.Helper()
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	long := &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}
	for i := from; i < from+n; i++ {
		s := &btf.Struct{Name: fmt.Sprintf("thing_%d", i), Size: 16, Members: []btf.Member{
			{Name: "value", Type: long},
			{Name: fmt.Sprintf("other_%d", i), Type: &btf.Pointer{Target: &btf.Const{Type: long}}, Offset: 64},
		}}
		f := &btf.Func{Name: fmt.Sprintf("do_%d", i), Type: &btf.FuncProto{Return: long, Params: []btf.FuncParam{{Name: "s", Type: &btf.Pointer{Target: s}}}}}
		if _, err := b.Add(f); err != nil {
			tb.Fatal(err)
		}
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: order})
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func kernelOf(tb testing.TB, name string, from, n int) *Facts {
	f := &Facts{
		Head: Head{ID: "test/" + name, Digest: "sha256:" + name, Release: name, Arch: "amd64"}, BTF: rawBTF(tb, binary.LittleEndian, from, n),
		Config: map[string]string{"BPF": "y", "LSM": "a=b,c", "EMPTY": ""}, AllModules: true,
	}
	for i := from; i < from+n; i++ {
		f.Symbols += fmt.Sprintf("do_%d T\n", i)
		f.Modules += fmt.Sprintf("mod_%d f some %08x\n", i, i)
	}
	return f
}

func writeAll(tb testing.TB, all []*Facts) []byte {
	tb.Helper()
	var b bytes.Buffer
	n := 0
	if err := Write(&b, func() (*Facts, error) {
		if n++; n > len(all) {
			return nil, io.EOF
		}
		return all[n-1], nil
	}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func openBytes(tb testing.TB, b []byte) (*Index, error) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "index.bki")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
	x, err := Open(path)
	if err == nil {
		tb.Cleanup(func() { x.Close() })
	}
	return x, err
}

// What was written is read, in whatever order, of kernels that are alike and of
// some that are not.
func TestWrite(t *testing.T) {
	all := []*Facts{
		kernelOf(t, "6.1", 1000, 2000),
		kernelOf(t, "6.1.1", 998, 2002), // all numbers differ
		kernelOf(t, "5.10", 9000, 2000),
		kernelOf(t, "6.1.2", 1002, 2002),
		kernelOf(t, "5.10.2", 8990, 2010),
		{Head: Head{ID: "test/nothing"}},
		{Head: Head{ID: "test/garbage"}, BTF: []byte("no BTF at all"), Symbols: "x T\n"},
		{Head: Head{ID: "test/big-endian"}, BTF: rawBTF(t, binary.BigEndian, 1000, 20)},
		{Head: Head{ID: "test/damaged"}, BTF: rawBTF(t, binary.LittleEndian, 1000, 20)[:300]},
	}
	b := writeAll(t, all)
	x, err := openBytes(t, b)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{"test/5.10", "test/5.10.2", "test/6.1", "test/6.1.1", "test/6.1.2", "test/big-endian", "test/damaged", "test/garbage", "test/nothing"}
	if got := x.Heads(); !slices.EqualFunc(got, ids, func(h Head, id string) bool { return h.ID == id }) {
		t.Errorf("%v", got)
	}
	for range 2 {
		slices.Reverse(all)
		for _, want := range all {
			got, err := x.Facts(want.ID, want.Digest)
			if !reflect.DeepEqual(want, got) || err != nil {
				t.Errorf("%s differs: %v", want.ID, err)
			}
			if got, err := x.Facts(want.ID, "sha256:another"); got != nil || err != nil {
				t.Errorf("%s of another digest: %v, %v", want.ID, got, err)
			}
		}
	}
	for _, e := range x.entries {
		like := map[string]int{"test/6.1.1": 1, "test/6.1.2": 1, "test/5.10.2": 3}[e.ID]
		size := e.Sizes[0] + e.Sizes[1] + e.Sizes[2] + e.Sizes[3]
		if like > 0 && (e.Like != like || !e.Renumbered || size > 6000) {
			t.Errorf("%s takes %d bytes beside kernel %d, renumbered %v", e.ID, size, e.Like, e.Renumbered)
		}
	}
	for _, id := range []string{"test/none", "test/6.1"} { // no digest is none
		if got, err := x.Facts(id, ""); got != nil || err != nil || x.Has(id, "") {
			t.Errorf("%s: %v, %v", id, got, err)
		}
	}
	var none *Index
	if got, err := none.Facts("test/6.1", ""); got != nil || err != nil || none.Close() != nil || none.Heads() != nil {
		t.Errorf("no index: %v, %v", got, err)
	}
}

// However many kernels an index has that each are like the one before, no kernel
// is behind too many, and the next ones of a series are compressed with its first.
func TestLikes(t *testing.T) {
	w := &writer{w: bufio.NewWriter(io.Discard), ids: map[string]bool{}}
	for i := range 2 * maxDepth {
		for j := range 2 {
			f := &Facts{Head: Head{ID: fmt.Sprintf("test/%d.%d", i, j)}, BTF: rawBTF(t, binary.LittleEndian, 1000*i, 3000+j)}
			if err := w.add(f); err != nil {
				t.Fatal(err)
			}
		}
		if first, second := 2*i+1, w.entries[2*i+1]; second.Like != first {
			t.Errorf("%s is compressed with kernel %d, want %d", second.ID, second.Like, first)
		}
	}
	anew, deepest := 0, 0
	for i := range w.entries {
		e := &w.entries[i]
		if e.Like == 0 {
			anew++
		} else {
			e.depth = w.entries[e.Like-1].depth + 1
		}
		deepest = max(deepest, e.depth)
	}
	if anew > 3 || deepest > maxDepth {
		t.Errorf("%d kernels are compressed with none, and one with %d", anew, deepest)
	}
	// Of several that are about as like, the first is taken.
	w.likes = []*liked{{n: 1, keys: readKeys(rawBTF(t, binary.LittleEndian, 0, 990))}, {n: 2, keys: readKeys(rawBTF(t, binary.LittleEndian, 0, 1000))}}
	if best, _, _ := w.nearest(readKeys(rawBTF(t, binary.LittleEndian, 0, 3000))); best.n != 1 {
		t.Errorf("kernel %d, want 1", best.n)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, tt := range []struct {
		want string
		all  []*Facts
	}{
		{"is one too many", []*Facts{kernelOf(t, "a", 0, 1), kernelOf(t, "a", 0, 2)}},
		{"is no kernel's id", []*Facts{{Head: Head{ID: "../x"}}}},
	} {
		n := 0
		err := Write(io.Discard, func() (*Facts, error) { n++; return tt.all[n-1], nil })
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	own := errors.New("own")
	if err := Write(io.Discard, func() (*Facts, error) { return nil, own }); !errors.Is(err, own) {
		t.Errorf("%v", err)
	}
}

// A file that is cut short or damaged anywhere is an error, or what it was.
func TestDamage(t *testing.T) {
	all := []*Facts{kernelOf(t, "6.1", 100, 2), kernelOf(t, "6.1.1", 99, 3)}
	good := writeAll(t, all)
	try := func(what string, b []byte) (failed bool) {
		x, err := openBytes(t, b)
		for _, want := range all {
			var got *Facts
			if err == nil {
				got, err = x.Facts(want.ID, want.Digest)
			}
			var bad *FormatError
			switch {
			case err != nil && (!errors.As(err, &bad) || !strings.Contains(err.Error(), "index.bki") || strings.Contains(err.Error(), "\n")):
				t.Errorf("%s: %v", what, err)
			case err == nil && !reflect.DeepEqual(want, got):
				t.Errorf("%s: %s is another", what, want.ID)
			}
		}
		return err != nil
	}
	for n := range good {
		if !try(fmt.Sprintf("%d bytes", n), good[:n]) {
			t.Errorf("%d of %d bytes are an index", n, len(good))
		}
		b := bytes.Clone(good)
		b[n] ^= 1 << (n % 8)
		try(fmt.Sprintf("byte %d", n), b)
	}
	if try("the whole", good) {
		t.Error("the whole is damaged")
	}
	for _, tt := range []struct{ b, want string }{
		{"MZ", `index.bki" is no index of kernels: bpf-kernel-check index makes one`},
		{strings.Replace(string(good), magic, name+"9", 1), "is of another version of this program: make it anew with bpf-kernel-check index"},
		{string(good[:len(good)-1]), "is cut short: make it anew"},
	} {
		if _, err := openBytes(t, []byte(tt.b)); err == nil || !strings.HasSuffix(err.Error(), tt.want) && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// file makes an index of a directory and what stands before it.
func file(directory, body []byte) []byte {
	b := append([]byte(magic), body...)
	at := len(b)
	packed, _ := pack(directory, nil)
	b = append(b, packed...)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	return append(b, magic...)
}

// A directory that asks for much is an error, and not the memory for it.
func TestHostile(t *testing.T) {
	one := func(rest string) string { return `{"id":"a/b","sizes":[0,0,0,0]` + rest + `}` }
	many := &strings.Builder{}
	for i := range maxKernels + 1 {
		fmt.Fprintf(many, `{"id":"a/%d"},`, i)
	}
	chain := &strings.Builder{}
	for i := range maxDepth + 2 {
		fmt.Fprintf(chain, `{"id":"a/%d","like":%d},`, i, i)
	}
	bomb, _ := pack(bytes.Repeat([]byte("A=\n"), maxOptions/3+1), nil)
	for _, tt := range []struct{ name, directory, want string }{
		{"many", "[" + many.String() + one("") + "]", "is one too many"},
		{"twice", "[" + one("") + "," + one("") + "]", "is one too many"},
		{"chain", "[" + chain.String() + one("") + "]", "is like too many"},
		{"itself", "[" + one(`,"like":1`) + "]", "is nowhere"},
		{"behind the end", "[" + one(`,"at":4000000000`) + "]", "is nowhere"},
		{"outside of everything", `[{"id":"../b"}]`, "is no kernel's id"},
		{"no objects", "[" + strings.Repeat("0,", 1000) + "0]", "cannot unmarshal"},
	} {
		if _, err := openBytes(t, file([]byte(tt.directory), nil)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	x, err := openBytes(t, file(fmt.Appendf(nil, `[{"id":"a/b","release":"a\u001b[2J\nb","at":8,"sizes":[0,0,0,%d]}]`, len(bomb)), bomb))
	if err != nil {
		t.Fatal(err)
	}
	if got := x.Heads()[0].Release; strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("%q", got)
	}
	if _, err := x.Facts("a/b", ""); err == nil || !strings.Contains(err.Error(), "bytes of options") {
		t.Errorf("%v", err)
	}
}

// Whatever is in an index, reading it ends, without a panic.
func FuzzOpen(f *testing.F) {
	good := writeAll(f, []*Facts{kernelOf(f, "6.1", 100, 3), kernelOf(f, "6.1.1", 98, 5)})
	x, err := openBytes(f, good)
	if err != nil {
		f.Fatal(err)
	}
	at := int64(binary.LittleEndian.Uint64(good[len(good)-16:]))
	directory, err := x.unpack(at, int64(len(good))-16-at, nil, maxDirectory)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(directory, good[8:at], []byte(nil))
	f.Add([]byte(`[{"id":"a/b","sizes":[0,0,0,0]}]`), []byte(nil), []byte(nil))
	f.Add([]byte(`[{"id":"a/b","sizes":[0,0,0,0]},{"id":"a/c","sizes":[0,0,0,0],"like":2,"renumbered":true}]`), []byte(nil), []byte(nil))
	f.Add([]byte(`[{"id":"a/b","sizes":[9223372036854775807,1,1,1],"at":8}]`), []byte(nil), []byte(nil))
	f.Add([]byte(nil), []byte(nil), good)
	f.Fuzz(func(t *testing.T, directory, body, whole []byte) {
		if len(whole) == 0 {
			whole = file(directory, body)
		}
		x, err := openBytes(t, whole)
		if err != nil {
			return
		}
		for _, h := range x.Heads() {
			_, _ = x.Facts(h.ID, h.Digest)
		}
	})
}

// What renumber gives unnumber makes BTF of again, to the byte.
func FuzzRenumber(f *testing.F) {
	f.Add(rawBTF(f, binary.LittleEndian, 10, 9), rawBTF(f, binary.LittleEndian, 8, 12))
	f.Add(rawBTF(f, binary.BigEndian, 10, 9), rawBTF(f, binary.LittleEndian, 8, 12))
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, raw, ref []byte) {
		own, like := readKeys(raw), readKeys(ref)
		types, _ := own.alignTypes(like)
		b := renumber(raw, types, own.alignStrings(like), len(ref))
		if back, err := unnumber(bytes.Clone(b), len(ref)); b != nil && (err != nil || !bytes.Equal(back, raw)) {
			t.Fatalf("%v", err)
		}
		_, _ = unnumber(bytes.Clone(raw), len(ref))
	})
}

// A definition is the same whatever else there is, and changes with what is
// declared.
func TestDefinitions(t *testing.T) {
	long, short := &btf.Int{Name: "long", Size: 8}, &btf.Int{Name: "short", Size: 2}
	defined := func(before, arg, member btf.Type) uint64 {
		b, err := btf.NewBuilder([]btf.Type{before}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := &btf.Struct{Name: "s", Size: 8, Members: []btf.Member{{Name: "m", Type: member}}}
		if _, err := b.Add(&btf.Func{Name: "f", Type: &btf.FuncProto{Return: long, Params: []btf.FuncParam{{Name: "a", Type: arg}, {Name: "b", Type: &btf.Pointer{Target: s}}}}}); err != nil {
			t.Fatal(err)
		}
		raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
		if err != nil {
			t.Fatal(err)
		}
		functions, _ := image.ReadBTFTypes(raw, nil).Defined()
		return functions["f"]
	}
	want := defined(short, long, long)
	if got := defined(&btf.Struct{Name: "more", Size: 1}, long, long); got != want {
		t.Error("another type before changes it")
	}
	if got := defined(short, long, short); got != want {
		t.Error("a member of a struct that it points to changes it")
	}
	if got := defined(short, short, long); got == want {
		t.Error("another parameter does not change it")
	}
	if got := defined(short, &btf.Pointer{Target: long}, long); got == want {
		t.Error("a pointer as parameter does not change it")
	}
}

// BenchmarkFacts reads the index that BPF_KERNEL_CHECK_INDEX names, or a small one.
func BenchmarkFacts(b *testing.B) {
	path := os.Getenv("BPF_KERNEL_CHECK_INDEX")
	if path == "" {
		path = filepath.Join(b.TempDir(), "index.bki")
		if err := os.WriteFile(path, writeAll(b, []*Facts{kernelOf(b, "6.1", 100, 9000), kernelOf(b, "6.1.1", 98, 9002)}), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	x, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	for i := 0; b.Loop(); i++ {
		h := x.Heads()[i%len(x.Heads())]
		if _, err := x.Facts(h.ID, h.Digest); err != nil {
			b.Fatal(err)
		}
	}
}
