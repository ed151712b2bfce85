package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// loadModules loads the modules that came with this kernel, in order, and
// returns those that did not load. Their files stay for a payload to see that
// they should be there.
func loadModules() []wire.Module {
	var failed []wire.Module
	files, _ := filepath.Glob(wire.ModulesDir + "/*.ko") // sorted; the pattern is good
	for _, file := range files {
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".ko"), "-")
		data, err := os.ReadFile(file)
		if err == nil {
			err = unix.InitModule(data, "")
		}
		if err != nil && !errors.Is(err, unix.EEXIST) { // built in, or loaded already
			failed = append(failed, wire.Module{Name: name, Error: err.Error()})
		}
	}
	return failed
}

// absent returns those modules that the running kernel does not show.
func absent(names []string) []wire.Module {
	var out []wire.Module
	for _, name := range names {
		if _, err := os.Stat("/sys/module/" + strings.ReplaceAll(name, "-", "_")); err != nil {
			out = append(out, wire.Module{Name: name, Error: "not loaded: this kernel did not come with it; it may have it built in"})
		}
	}
	return out
}
