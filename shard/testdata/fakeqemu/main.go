// Command fakeqemu stands in for QEMU where what is looked at is the program
// that starts a thousand of them. It boots nothing: it says what a guest says
// whose one test passes.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func main() {
	switch args := os.Args[1:]; {
	case slices.Contains(args, "--version"):
		fmt.Println("QEMU emulator version 7.2.0")
	case slices.Contains(args, "-L"):
		fmt.Println(filepath.Join(filepath.Dir(os.Args[0]), "roms"))
	default:
		i := slices.Index(args, "-append")
		if i < 0 { // it is asked for its sandbox
			return
		}
		if err := boot(args[i+1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// boot writes the guest's records to the descriptors that QEMU gets.
func boot(cmdline string) error {
	nonce := ""
	for word := range strings.FieldsSeq(cmdline) {
		if v, ok := strings.CutPrefix(word, wire.ParamNonce+"="); ok {
			nonce = v
		}
	}
	console, results := os.NewFile(3, "console"), os.NewFile(4, "results")
	if _, err := fmt.Fprint(console, strings.Repeat("[    0.000000] Linux version 6.1.0 says this and that\r\n", 300)); err != nil {
		return err
	}
	w := wire.NewWriter(results, nonce)
	records := []wire.Record{
		{Type: wire.TypeHello, Hello: &wire.Hello{Release: "6.1.0"}},
		{Type: wire.TypeKernel, Kernel: &wire.Kernel{BTF: true}},
	}
	const tests = 20
	for i := range tests {
		records = append(records, wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: fmt.Sprintf("test_%d", i), Verdict: wire.TestPass, Duration: time.Millisecond}})
	}
	records = append(records,
		wire.Record{Type: wire.TypeExit, Exit: &wire.Exit{Duration: time.Second}},
		wire.Record{Type: wire.TypeEnd, End: &wire.End{Nonce: nonce, Tests: tests, Passed: tests, Complete: true}})
	for _, r := range records {
		if err := w.Write(r); err != nil {
			return err
		}
	}
	return nil
}
