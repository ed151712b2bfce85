package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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
			err = loadModule(name, data, "")
		}
		if err != nil {
			failed = append(failed, wire.Module{Name: name, Error: err.Error()})
		}
	}
	return failed
}

// loadOwnFrom loads the modules in dir that the payload's user built, each in no more time
// than limit, and says why one does not load; "": all do.
func loadOwnFrom(dir string, modules []wire.OwnModule, limit time.Duration, load func(name string, data []byte, params string) error) string {
	for _, m := range modules {
		data, err := os.ReadFile(dir + "/" + m.Name + ".ko")
		if err == nil {
			loaded := make(chan error, 1)
			go func() { loaded <- load(m.Name, data, m.Params) }()
			select {
			case err = <-loaded:
			case <-time.After(limit):
				err = fmt.Errorf("its start has not ended after %v", limit)
			}
		}
		if errors.Is(err, unix.EEXIST) { // it is not the user's
			err = fmt.Errorf("%w: a module of this name is loaded already, or built in: give yours another name", err)
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
		if _, err := os.Stat("/sys/module/" + wire.ModuleName(name)); err != nil {
			out = append(out, wire.Module{Name: name, Error: "not loaded: this kernel did not come with it; it may have it built in"})
		}
	}
	return out
}
