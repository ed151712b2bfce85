package wire

import "strings"

// Files of a kernel's archive of modules.
const (
	// OnDemandPath holds those that are loaded when something asks for them: a zip
	// archive of NAME.ko, and the lists below. It is the archive's last file, so
	// that a restored VM can leave it with the host until then.
	OnDemandPath = ModulesDir + "/ondemand.zip"

	// DevicesPath holds names below /dev of character devices whose opening loads
	// one of them, as lines like "net/tun 10 200".
	DevicesPath = ModulesDir + "/devices"
)

// Files of the archive at OnDemandPath that are no modules.
const (
	OnDemandIndex   = "index"   // of its modules: lines of ModuleInfo
	OnDemandOthers  = "others"  // the names of the kernel's modules that were not brought along, one a line
	OnDemandBuiltin = "builtin" // the names of those that the kernel has built in
)

// OwnModulesDir is where a payload's archive holds modules that its user built.
const OwnModulesDir = "/own-modules"

// OwnModule is a module that its user built. A kernel that does not load it does
// not run the payload.
type OwnModule struct {
	Name   string `json:"name"`             // in OwnModulesDir, as NAME.ko
	Params string `json:"params,omitempty"` // "a=1 b=2"
}

// ModuleInfo is what a program has to know that loads a module on demand. Names
// are as lsmod shows them, with "_" for "-".
type ModuleInfo struct {
	Name      string
	Depends   []string // modules that have to be there first
	Pre, Post []string // those that should be loaded before and after it
	Aliases   []string // other names that it goes by, as patterns of a shell
}

// String is a line of an index, without its end: the words and the aliases.
func (m ModuleInfo) String() string {
	words := []string{m.Name}
	for _, list := range [][]string{m.Depends, m.Pre, m.Post} {
		words = append(words, "-"+strings.Join(list, ","))
	}
	return strings.Join(append(words, m.Aliases...), " ")
}

// ParseModuleInfo reads a line that String made.
func ParseModuleInfo(line string) (m ModuleInfo, ok bool) {
	words := strings.Fields(line)
	if len(words) < 4 {
		return m, false
	}
	m.Name, m.Aliases = words[0], words[4:]
	for i, list := range []*[]string{&m.Depends, &m.Pre, &m.Post} {
		names, ok := strings.CutPrefix(words[1+i], "-")
		if !ok {
			return m, false
		}
		if names != "" {
			*list = strings.Split(names, ",")
		}
	}
	return m, true
}

// ModuleName is a module's name as the kernel writes it.
func ModuleName(name string) string { return strings.ReplaceAll(name, "-", "_") }
