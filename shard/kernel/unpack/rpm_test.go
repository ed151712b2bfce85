package unpack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

// What an RPM's payload must not do.
func TestHostileRPMs(t *testing.T) {
	t.Parallel()
	const reg = cpioRegular | 0o644
	vmlinuz := string(imagetest.Vmlinuz(t, "6.1.1"))
	bomb := imagetest.Compressed(t, image.Gzip, imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz-6.1.1", Mode: reg, Data: strings.Repeat("\x00", 64<<20)}))
	for _, tc := range []struct {
		name string
		rpm  []byte
		want string // of the error; "" for a kernel
	}{
		{"good", imagetest.RPMFile(nil, imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz-6.1.1", Mode: reg, Data: vmlinuz})), ""},
		{"paths that lead out", imagetest.RPMFile(nil, imagetest.Cpio(
			imagetest.CpioMember{Name: "../../boot/vmlinuz-6.1.1", Mode: reg, Data: vmlinuz},
			imagetest.CpioMember{Name: "./lib/modules/../../../vmlinuz", Mode: reg, Data: vmlinuz},
			imagetest.CpioMember{Name: "/boot/vmlinuz-6.1.1", Mode: reg, Data: vmlinuz})), "holds no kernel"},
		{"links and devices", imagetest.RPMFile(nil, imagetest.Cpio(
			imagetest.CpioMember{Name: "./boot/vmlinuz-6.1.1", Mode: 0o120777, Data: "/etc/passwd"},
			imagetest.CpioMember{Name: "./boot/vmlinuz", Mode: 0o020644},
			imagetest.CpioMember{Name: "./lib/modules/6.1.1/vmlinuz", Mode: 0o040755})), "holds no kernel"},
		{"a hard link before its content", imagetest.RPMFile(nil, imagetest.Cpio(
			imagetest.CpioMember{Name: "./boot/vmlinuz-6.1.1", Mode: reg, Links: 2},
			imagetest.CpioMember{Name: "./lib/modules/6.1.1/vmlinuz", Mode: reg, Links: 2, Data: vmlinuz})), ""},
		{"a name with a line break", imagetest.RPMFile(nil, imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz-6\n::error::x", Mode: reg, Data: vmlinuz})), "holds no kernel"},
		{"a name without end", imagetest.RPMFile(nil, imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz", Mode: reg, Length: 1 << 30})), "exceeds the limit"},
		{"a file without end", imagetest.RPMFile(nil, imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz", Mode: reg, Data: "x", Size: 0xffffffff})), "exceeds the limit"},
		{"a file that is cut", imagetest.RPMFile(nil, imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz", Mode: reg, Data: vmlinuz, Size: 1 << 20})), "unexpected EOF"},
		{"not a kernel", imagetest.RPMFile(nil, bomb), "is no kernel image"},
		{"no trailer", imagetest.RPMFile(nil, imagetest.Cpio()[:100]), "unexpected EOF"},
		{"not cpio", imagetest.RPMFile(nil, []byte("hello")), "no cpio archive"},
		{"large-file cpio", imagetest.RPMFile(nil, append([]byte("07070X"), make([]byte, 200)...)), "not supported"},
		{"no payload", imagetest.RPMFile(nil, nil), "no cpio archive"},
		{"no RPM", []byte("hello"), "read RPM"},
		{"another file", make([]byte, 1000), "not an RPM"},
		{"a header of 4 GiB", append(imagetest.RPMFile(nil, nil)[:leadSize], 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), "exceeds the limit"},
		{"a header of 4 billion tags", append(imagetest.RPMFile(nil, nil)[:leadSize], 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), "exceeds the limit"},
		{"a header that is cut", append(imagetest.RPMFile(nil, nil)[:leadSize], 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0xff, 0, 0), "unexpected EOF"},
	} {
		dir := t.TempDir()
		file := imagetest.WriteFile(t, filepath.Join(dir, "0.rpm"), tc.rpm)
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		e, err := Packages(context.Background(), out, "", []kernel.Archive{RPM(file)})
		switch {
		case tc.want == "" && (err != nil || e.Image.Version != "6.1.1"):
			t.Errorf("%s: %+v, %v", tc.name, e, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: error %v, want one line with %q", tc.name, err, tc.want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 2 {
			t.Errorf("%s: files outside: %v", tc.name, left)
		}
	}
	var limit *bounded.LimitError
	endless := imagetest.Cpio(imagetest.CpioMember{Name: "a", Mode: reg, Size: 0xfffffffc})[:16]
	if err := walkCpio(context.Background(), bytes.NewReader(endless), func(string, int64, io.Reader) error { return nil }); err == nil || errors.As(err, &limit) {
		t.Errorf("error %v, want that of a cut archive", err)
	}
}

func FuzzRPM(f *testing.F) {
	const reg = cpioRegular | 0o644
	payload := imagetest.Cpio(imagetest.CpioMember{Name: "./boot/vmlinuz-6.1.1", Mode: reg, Data: "kernel"}, imagetest.CpioMember{Name: "../x", Mode: reg, Data: "y"})
	f.Add(imagetest.RPMFile(nil, payload))
	f.Add(imagetest.RPMFile(nil, imagetest.Compressed(f, image.Gzip, payload)))
	f.Add(imagetest.RPMFile(nil, imagetest.Cpio(imagetest.CpioMember{Name: "a", Mode: reg, Links: 2}, imagetest.CpioMember{Name: "b", Mode: 0o120777, Data: "c"})))
	f.Add(imagetest.RPMFile(nil, nil)[:leadSize+20])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		signature, header, err := ReadRPM(r)
		if err != nil {
			return
		}
		for tag := range header.tags {
			header.String(tag)
			header.Int32(tag)
			header.Bytes(tag)
		}
		signature.Bytes(RPMSigPGP)
		if len(header.Raw) > len(b) {
			t.Fatalf("a header of %d bytes out of %d", len(header.Raw), len(b))
		}
		// The decompressors have fuzz targets of their own.
		rest, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = walkCpio(context.Background(), bytes.NewReader(rest), func(name string, size int64, r io.Reader) error {
			if got, ok := MemberName(name); !ok || got != name {
				t.Fatalf("name %q", name)
			}
			n, err := io.Copy(io.Discard, r)
			if n > size || err == nil && n != size {
				t.Fatalf("%d bytes of a file of %d", n, size)
			}
			return err
		})
	})
}
