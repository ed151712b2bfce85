package goarch

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestOfRegisters(t *testing.T) {
	for _, tt := range []struct {
		reads []int
		order binary.ByteOrder
		want  string
	}{
		{nil, binary.LittleEndian, ""},
		{[]int{112, 104, 56}, binary.LittleEndian, "amd64"},
		{[]int{64, 8}, binary.LittleEndian, "arm64 ppc64le"},
		{[]int{0, 8, 56}, binary.LittleEndian, "arm64"},
		{[]int{136, 80}, binary.LittleEndian, "riscv64"},
		{[]int{112}, binary.LittleEndian, "amd64"}, // its first, riscv64's fifth
		{[]int{96}, binary.LittleEndian, "amd64 riscv64"},
		{[]int{80}, binary.LittleEndian, "amd64 riscv64"}, // a result
		{[]int{8}, binary.LittleEndian, "arm64"},
		{[]int{0, 0}, binary.LittleEndian, ""},
		{[]int{32}, binary.LittleEndian, "arm64 ppc64le"},
		{[]int{64, 56}, binary.LittleEndian, "amd64 arm64 ppc64le"},
		{[]int{112, 8}, binary.LittleEndian, "riscv64"},
		{[]int{40, 48}, binary.BigEndian, "s390x"},
		{[]int{112}, binary.BigEndian, ""}, // no argument
		{[]int{-8}, binary.LittleEndian, ""},
		{[]int{1000}, binary.LittleEndian, ""},
	} {
		if got := strings.Join(OfRegisters(tt.reads, tt.order), " "); got != tt.want {
			t.Errorf("%v, %v: %q, want %q", tt.reads, tt.order, got, tt.want)
		}
	}
}
