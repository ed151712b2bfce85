package image

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

func TestWrapped(t *testing.T) {
	t.Parallel()
	const v = "6.1.0"
	bz, arm, elf := imagetest.Vmlinuz(t, v), imagetest.Arm64Image(v), imagetest.ELF(v, true)
	zboot := imagetest.Zboot(imagetest.Compressed(t, Gzip, arm))
	const amd64, arm64 = 0x8664, 0xaa64
	silent := imagetest.Zboot([]byte("LZO, or another that says nothing"))
	cut := imagetest.PE(amd64, ".linux", string(bz))
	for _, tc := range []struct {
		name string
		file []byte
		want []byte // what is booted
		arch string
		err  string
	}{
		{"unified kernel image", imagetest.PE(amd64, ".osrel", "ID=x", ".cmdline", "quiet", ".uname", v+"\n", ".linux", string(bz), ".initrd", "x"), bz, "amd64", ""},
		{"arm64 stub", imagetest.PE(arm64, ".dtbauto", "x", ".linux", string(arm)), arm, "arm64", ""},
		{"arm64 stub of a compressed Image", imagetest.PE(arm64, ".linux", string(imagetest.Compressed(t, Gzip, arm))), arm, "arm64", ""},
		{"arm64 stub of a zboot", imagetest.PE(arm64, ".linux", string(zboot)), zboot, "arm64", ""},
		{"release from .uname", imagetest.PE(arm64, ".linux", string(silent), ".uname", v), silent, "arm64", ""},
		{"Image.gz", imagetest.Compressed(t, Gzip, arm), arm, "arm64", ""},
		{"Image.xz", imagetest.Compressed(t, XZ, arm), arm, "arm64", ""},
		{"Image.zst", imagetest.Compressed(t, Zstd, arm), arm, "arm64", ""},
		{"Image.lz4", imagetest.Compressed(t, LZ4, arm), arm, "arm64", ""},
		{"Image.lzma", imagetest.Compressed(t, LZMA, arm), arm, "arm64", ""},
		{"vmlinux.zst", imagetest.Compressed(t, Zstd, elf), elf, "amd64", ""},
		{"bzImage.xz", imagetest.Compressed(t, XZ, bz), bz, "amd64", ""},
		{"compressed EFI image", imagetest.Compressed(t, Gzip, imagetest.PE(amd64, ".linux", string(bz))), bz, "amd64", ""},

		{"boot loader", imagetest.PE(amd64, ".text", "x"), nil, "", "without a .linux section"},
		{"two kernels", imagetest.PE(amd64, ".linux", string(bz), ".linux", string(bz)), nil, "", "two .linux sections"},
		{"another architecture's", imagetest.PE(amd64, ".linux", string(arm)), nil, "", "an EFI image for amd64 around a kernel for arm64"},
		{"cut short", cut[:len(cut)-1], nil, "", "cut short"},
		{"no kernel in it", imagetest.PE(amd64, ".linux", "hello"), nil, "", "its header is not one of a kernel"},
		{"compression that breaks off", imagetest.Compressed(t, Zstd, arm)[:50], nil, "", "breaks off"},
		{"wrapped without end", imagetest.Compressed(t, Gzip, imagetest.Compressed(t, Gzip, imagetest.Compressed(t, Gzip, arm))), nil, "", "not one of a kernel"},
		{"more sections than bytes", append([]byte("MZ"+strings.Repeat("\x00", 58)+"\x40\x00\x00\x00PE\x00\x00\x64\x86\xff\xff"), make([]byte, 1000)...), nil, "", "headers cannot be read"},
		{"MZ", []byte("MZ" + strings.Repeat("\x00", 1000)), nil, "", "EFI image, whose headers cannot be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := imagetest.WriteFile(t, t.TempDir()+"/kernel", tc.file)
			info, err := Unwrap(path, path)
			if tc.err != "" {
				if nk := (*NotKernelError)(nil); !errors.As(err, &nk) || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want a NotKernelError with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != string(tc.want) || info.Version != v || info.Arch != tc.arch {
				t.Errorf("%d bytes, want %d, of %+v, %v", len(got), len(tc.want), info, err)
			}
			if again, err := ProbeFile(path); err != nil || tc.name != "release from .uname" && again != info {
				t.Errorf("%+v, %v, want %+v", again, err, info)
			}
		})
	}
}
