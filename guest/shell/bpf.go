package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const bpfUsage = `prog list | prog dump xlated ID|NAME
       bpf map list | map dump ID|NAME
       bpf link list`

// bpfCommand has the basics of bpftool.
func bpfCommand(args []string, std stdio) error {
	n := len(args)
	switch words := strings.Join(args[:min(n, 3)], " "); {
	case words == "prog list" || words == "prog show":
		return table(std.out, "ID\tTYPE\tNAME\tINSNS\tMAPS\tTAG", "no programs are loaded", programRows)
	case words == "prog dump xlated" && n == 4:
		return dumpProgram(std.out, args[3])
	case words == "map list" || words == "map show":
		return table(std.out, "ID\tTYPE\tNAME\tKEY\tVALUE\tENTRIES", "there are no maps", mapRows)
	case n == 3 && args[0] == "map" && args[1] == "dump":
		return dumpMap(std.out, args[2])
	case words == "link list" || words == "link show":
		return table(std.out, "ID\tTYPE\tPROGRAM", "there are no links; programs that are attached by perf events, as old libraries do, have none", linkRows)
	}
	return errUsage
}

// table prints rows below a head, or none where there are no rows.
func table(w io.Writer, head, none string, rows func() ([]string, error)) error {
	list, err := rows()
	if err == nil && len(list) == 0 {
		fmt.Fprintln(w, none)
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(append([]string{head}, list...), "\n"))
	return errors.Join(err, tw.Flush())
}

// loaded are the programs or maps of this kernel: how to get the next one's id, to
// open it, and to ask what it is.
type loaded[ID ~uint32, T io.Closer, Info any] struct {
	what string
	next func(ID) (ID, error)
	open func(ID) (T, error)
	info func(T) (Info, error)
	name func(Info) string
}

var (
	programs = loaded[ebpf.ProgramID, *ebpf.Program, *ebpf.ProgramInfo]{
		"prog", ebpf.ProgramGetNextID, ebpf.NewProgramFromID, (*ebpf.Program).Info,
		func(info *ebpf.ProgramInfo) string { return info.Name },
	}
	kernelMaps = loaded[ebpf.MapID, *ebpf.Map, *ebpf.MapInfo]{
		"map", ebpf.MapGetNextID, ebpf.NewMapFromID, (*ebpf.Map).Info,
		func(info *ebpf.MapInfo) string { return info.Name },
	}
)

// each calls do with each of them.
func (l loaded[ID, T, Info]) each(do func(id ID, t T, info Info) error) error {
	for id := ID(0); ; {
		next, err := l.next(id)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		id = next
		t, err := l.open(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it is gone
		}
		if err != nil {
			return fmt.Errorf("open %s %d: %w", l.what, id, err)
		}
		info, err := l.info(t)
		if err == nil {
			err = do(id, t, info)
		}
		t.Close()
		if err != nil {
			return fmt.Errorf("%s %d: %w", l.what, id, err)
		}
	}
}

// find calls do with those of a number or name.
func (l loaded[ID, T, Info]) find(which string, do func(id ID, t T, info Info) error) error {
	found := false
	err := l.each(func(id ID, t T, info Info) error {
		if strconv.Itoa(int(id)) != which && l.name(info) != which {
			return nil
		}
		found = true
		return do(id, t, info)
	})
	if err == nil && !found {
		return fmt.Errorf("no %s %q: bpf %s list shows them", l.what, which, l.what)
	}
	return err
}

func programRows() ([]string, error) {
	var rows []string
	err := programs.each(func(id ebpf.ProgramID, _ *ebpf.Program, info *ebpf.ProgramInfo) error {
		insns, maps := "?", "-"
		if size, err := info.TranslatedSize(); err == nil {
			insns = strconv.Itoa(size / 8)
		}
		if ids, ok := info.MapIDs(); ok && len(ids) > 0 {
			maps = strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
		}
		rows = append(rows, fmt.Sprintf("%d\t%v\t%s\t%s\t%s\t%s", id, info.Type, info.Name, insns, maps, info.Tag))
		return nil
	})
	return rows, err
}

func dumpProgram(w io.Writer, which string) error {
	return programs.find(which, func(id ebpf.ProgramID, _ *ebpf.Program, info *ebpf.ProgramInfo) error {
		insns, err := info.Instructions()
		if err != nil {
			return fmt.Errorf("read its instructions: %w (sysctl kernel.kptr_restrict and net.core.bpf_jit_harden may forbid it)", err)
		}
		fmt.Fprintf(w, "%d: %s\n%v", id, info.Name, insns)
		return nil
	})
}

func mapRows() ([]string, error) {
	var rows []string
	err := kernelMaps.each(func(id ebpf.MapID, _ *ebpf.Map, info *ebpf.MapInfo) error {
		rows = append(rows, fmt.Sprintf("%d\t%v\t%s\t%d\t%d\t%d", id, info.Type, info.Name, info.KeySize, info.ValueSize, info.MaxEntries))
		return nil
	})
	return rows, err
}

// dumpMap prints keys and values as bytes.
func dumpMap(w io.Writer, which string) error {
	return kernelMaps.find(which, func(id ebpf.MapID, m *ebpf.Map, info *ebpf.MapInfo) error {
		fmt.Fprintf(w, "%d: %v %s\n", id, info.Type, info.Name)
		var key, value []byte
		var values [][]byte // of a map that has one for each CPU
		into := any(&value)
		switch info.Type {
		case ebpf.RingBuf, ebpf.PerfEventArray, ebpf.Queue, ebpf.Stack:
			return fmt.Errorf("a %v has no entries to print", info.Type)
		case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash, ebpf.PerCPUCGroupStorage:
			into = &values
		}
		n := 0
		it := m.Iterate()
		for it.Next(&key, into) {
			n++
			if values == nil {
				fmt.Fprintf(w, "key % x  value % x\n", key, value)
			}
			for cpu, v := range values {
				fmt.Fprintf(w, "key % x  cpu %d  value % x\n", key, cpu, v)
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
		fmt.Fprintf(w, "%d entries\n", n)
		return nil
	})
}

func linkRows() ([]string, error) {
	// enum bpf_link_type of include/uapi/linux/bpf.h
	types := strings.Fields("unspecified raw_tracepoint tracing cgroup iter netns xdp perf_event kprobe_multi struct_ops netfilter tcx uprobe_multi netkit sockmap")
	// A link that is just being made cannot be opened yet.
	for tries := 0; ; tries++ {
		var rows []string
		var it link.Iterator
		for it.Next() {
			info, err := it.Link.Info()
			if err != nil {
				it.Close()
				return nil, fmt.Errorf("link %d: %w", it.ID, err)
			}
			name := strconv.Itoa(int(info.Type))
			if int(info.Type) < len(types) {
				name = types[info.Type]
			}
			rows = append(rows, fmt.Sprintf("%d\t%s\t%d", info.ID, name, info.Program))
		}
		err := it.Err()
		it.Close()
		switch {
		case err == nil:
			return rows, nil
		case errors.Is(err, unix.EAGAIN) && tries < 20:
			time.Sleep(50 * time.Millisecond)
		case errors.Is(err, unix.EINVAL):
			return nil, fmt.Errorf("list links: %w (kernels before 5.8 cannot)", err)
		default:
			return nil, fmt.Errorf("list links: %w", err)
		}
	}
}
