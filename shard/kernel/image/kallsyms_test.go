package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kallsymsImage is a file with the tables as scripts/kallsyms.c lays them out.
// pad is what is between the number of symbols and their names.
func kallsymsImage(symbols []string, pad int, before, after []byte) []byte {
	return kallsymsIn(binary.LittleEndian, symbols, pad, before, after)
}

func kallsymsIn(order binary.AppendByteOrder, symbols []string, pad int, before, after []byte) []byte {
	tokens := make([]string, 256)
	for c := range 128 {
		if c > ' ' && c < 127 {
			tokens[c] = string(rune(c))
		}
	}
	tokens[200], tokens[201] = "sys_", "vfs_"
	b := bytes.Clone(before)
	for len(b)%8 != 0 {
		b = append(b, 0xff)
	}
	b = order.AppendUint32(b, uint32(len(symbols)))
	b = append(b, make([]byte, pad)...)
	var names, markers []byte
	for i, s := range symbols {
		if i%256 == 0 {
			markers = order.AppendUint32(markers, uint32(len(names)))
		}
		var coded []byte
		for s != "" {
			switch {
			case len(s) >= 4 && s[:4] == "sys_":
				coded, s = append(coded, 200), s[4:]
			case len(s) >= 4 && s[:4] == "vfs_":
				coded, s = append(coded, 201), s[4:]
			default:
				coded, s = append(coded, s[0]), s[1:]
			}
		}
		if len(coded) > 127 {
			names = append(names, byte(len(coded)|0x80), byte(len(coded)>>7))
		} else {
			names = append(names, byte(len(coded)))
		}
		names = append(names, coded...)
	}
	b = append(b, names...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, markers...)
	b = append(b, 0x12, 0x34, 0x56) // the sequence of the names, which need not end in a zero
	for len(b)%8 != 0 {
		b = append(b, 0x78)
	}
	var offsets []byte
	start := len(b)
	for _, t := range tokens {
		offsets = order.AppendUint16(offsets, uint16(len(b)-start))
		b = append(append(b, t...), 0)
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return append(append(b, offsets...), after...)
}

func manySymbols() []string {
	var list []string
	for i := range 3000 {
		list = append(list, fmt.Sprintf("t%sfunction_%d", []string{"", "sys_", "vfs_"}[i%3], i))
	}
	return append(list, "Tvfs_unlink", "tdup", "tdup", "t"+string(bytes.Repeat([]byte("x"), 300)))
}

func TestSymbols(t *testing.T) {
	list := manySymbols()
	junk := []byte("0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00 is not the table\x00")
	for _, pad := range []int{0, 4} {
		path := filepath.Join(t.TempDir(), "vmlinux")
		if err := os.WriteFile(path, kallsymsImage(list, pad, junk, junk), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Symbols(path)
		if err != nil {
			t.Fatalf("pad %d: %v", pad, err)
		}
		var names []string
		for _, s := range got {
			names = append(names, string(s.Type)+s.Name)
		}
		want := slices.Clone(list)
		slices.SortFunc(want, func(a, b string) int { return bytes.Compare([]byte(a[1:]), []byte(b[1:])) })
		if !slices.Equal(names, want) {
			t.Errorf("pad %d: %d symbols, want %d", pad, len(names), len(want))
		}
	}
}

// In a big-endian kernel the tables' numbers are so, too.
func TestSymbolsBigEndian(t *testing.T) {
	for _, pad := range []int{0, 4} {
		b := kallsymsIn(binary.BigEndian, manySymbols(), pad, []byte("junk"), []byte("junk"))
		if got, err := kallsyms(bytes.NewReader(b)); err != nil || len(got) != len(manySymbols()) {
			t.Errorf("pad %d: %d symbols, %v", pad, len(got), err)
		}
	}
}

// Much that goes on as names, in front of the tokens, does not keep the names from
// being found: it was so in Debian's 7.0.
func TestSymbolsAmongWhatLooksLikeNames(t *testing.T) {
	good := kallsymsImage(manySymbols(), 4, nil, nil)
	at := bytes.Index(good, []byte{0x12, 0x34, 0x56})
	b := slices.Concat(good[:at], bytes.Repeat([]byte{3, 0x80, 1, 0}, 10_000), good[at:]) // names of 3 tokens, and their number
	if got, err := kallsyms(bytes.NewReader(b)); err != nil || len(got) != len(manySymbols()) {
		t.Errorf("%d symbols, %v", len(got), err)
	}
}

// What is cut or changed is not taken for a kernel with fewer symbols.
func TestSymbolsBroken(t *testing.T) {
	good := kallsymsImage(manySymbols(), 4, nil, nil)
	for name, bad := range map[string][]byte{
		"empty":            nil,
		"no names":         good[len(good)-2000:],
		"a number changed": func() []byte { b := bytes.Clone(good); b[0]++; return b }(),
		"a length changed": func() []byte { b := bytes.Clone(good); b[8]++; return b }(),
		"cut":              good[:len(good)-100],
	} {
		path := filepath.Join(t.TempDir(), "vmlinux")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Symbols(path); !errors.Is(err, ErrNoSymbols) {
			t.Errorf("%s: %d symbols, %v; want ErrNoSymbols", name, len(got), err)
		}
	}
}

func FuzzKallsyms(f *testing.F) {
	f.Add(kallsymsImage(manySymbols()[:1100], 4, nil, nil))
	f.Add(kallsymsImage(manySymbols()[:1100], 0, []byte("junk"), []byte("junk")))
	f.Add(kallsymsIn(binary.BigEndian, manySymbols()[:1100], 4, nil, nil))
	for _, layout := range []string{"in front", "behind", "relative"} {
		f.Add(tracedKernel(layout))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		symbols, err := kallsyms(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		markNoTrace(bytes.NewReader(b), symbols)
		for _, s := range symbols {
			if !goodName(s.Name) {
				t.Errorf("a name that cannot be shown: %q", s.Name)
			}
		}
		if raw := findBTF(b); len(raw) > len(b) {
			t.Error("BTF longer than the file")
		}
	})
}

func TestRawBTFByMagic(t *testing.T) {
	btf := func(types, strings int) []byte {
		b := []byte{0x9f, 0xeb, 1, 0}
		for _, n := range []int{24, 0, types, types, strings} {
			b = binary.LittleEndian.AppendUint32(b, uint32(n))
		}
		return append(b, make([]byte, types+strings)...)
	}
	large := btf(120, 40)
	file := append(append(append([]byte("ARM\x64 something"), btf(12, 8)...), large...), "more\x9f\xeb\x01\x00"...)
	path := filepath.Join(t.TempDir(), "Image")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := RawBTF(path)
	if err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(large))
	}
	if err := os.WriteFile(path, file[:len(file)-60], 0o600); err != nil { // the large one is cut
		t.Fatal(err)
	}
	if got, err := RawBTF(path); err != nil || len(got) != 24+12+8 {
		t.Errorf("cut: %d bytes, %v", len(got), err)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RawBTF(path); !errors.Is(err, ErrNoBTF) {
		t.Errorf("%v, want ErrNoBTF", err)
	}
}

// What the order of addresses says of symbols: the members of the kernel's sets
// of functions, and what is in sections that nothing can be attached to.
func TestPlace(t *testing.T) {
	symbols := []Symbol{
		{Name: "__kprobes_text_end", Type: 'T'},
		{Name: "__kprobes_text_start", Type: 'T'}, // empty, in either order
		{Name: "_text", Type: 'T'},
		{Name: "before", Type: 't'},
		{Name: "__noinstr_text_start", Type: 'T'},
		{Name: "exc_nmi", Type: 't'},
		{Name: "data", Type: 'd'},
		{Name: "__noinstr_text_end", Type: 'T'},
		{Name: "after", Type: 'T'},
		{Name: "__entry_text_start", Type: 'T'},
		{Name: "no_end", Type: 't'},
		{Name: "__BTF_ID__func__single__1", Type: 'r'},
		{Name: "__BTF_ID__set__deny", Type: 'r'},
		{Name: "deny", Type: 'd'},
		{Name: "__BTF_ID__func__a__2", Type: 'r'},
		{Name: "__BTF_ID__struct__s__3", Type: 'r'},
		{Name: "__BTF_ID__func__b__4", Type: 'r'},
		{Name: "kfuncs", Type: 'd'},
		{Name: "__BTF_ID__set8__kfuncs", Type: 'r'},
		{Name: "__BTF_ID__func__c__5", Type: 'r'},
		{Name: "a_list", Type: 'd'},
		{Name: "__BTF_ID__func__d__6", Type: 'r'},
	}
	place(symbols)
	got := map[string]string{}
	for _, s := range symbols {
		if s.In != "" && !strings.HasSuffix(s.Name, "_text_start") {
			got[s.Name] = s.In
		}
	}
	want := map[string]string{"exc_nmi": NoProbes, "__BTF_ID__func__a__2": "deny", "__BTF_ID__func__b__4": "deny", "__BTF_ID__func__c__5": "kfuncs"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
