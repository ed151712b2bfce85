package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
			err = loadModule(name, data, "")
		}
		if err != nil {
			failed = append(failed, wire.Module{Name: name, Error: err.Error()})
		}
	}
	return failed
}

// loadOwn loads the modules that the payload's user built, and says why one does
// not load; "": all do.
func loadOwn(modules []wire.OwnModule) string {
	for _, m := range modules {
		data, err := os.ReadFile(wire.OwnModulesDir + "/" + m.Name + ".ko")
		if err == nil {
			err = loadModule(m.Name, data, m.Params)
		}
		if err != nil {
			return fmt.Sprintf("the kernel does not load the module %s: %v", m.Name, err)
		}
	}
	return ""
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
