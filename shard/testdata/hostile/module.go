package main

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// A kernel module that does one wrong thing, made here out of a few
// instructions: distributions ship no module that crashes on demand, and to
// build one takes the headers of each kernel. The kernel's own BTF says where
// its structures have their members, and /proc/kallsyms where its functions
// are.
//
// Which wrong thing it does is a function of the module, whose name starts
// with bkc_, so that reports name it.

// crash sets the limits of the kernel's watchdogs, given as FILE=VALUE below
// /proc/sys/kernel or in full, so that tests need not wait for theirs, and
// makes the kernel do something wrong. It returns when the kernel has survived
// it.
func crash(what string, limits []string) error {
	for _, l := range limits {
		file, value, _ := strings.Cut(l, "=")
		if !strings.HasPrefix(file, "/") {
			file = "/proc/sys/kernel/" + file
		}
		if err := write(file, value); err != nil {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	if err := loadModule(what); err != nil {
		return fmt.Errorf("load a module that does %s: %w", what, err)
	}
	if strings.HasPrefix(what, "thread-") {
		time.Sleep(time.Second) // it has its turn
	}
	fmt.Println("the kernel has survived", what)
	return nil
}

func loadModule(what string) error {
	m := module{name: "bkc_" + strings.ReplaceAll(what, "-", "_")}
	if err := m.look(); err != nil {
		return err
	}
	if m.write(what); m.err != nil {
		return m.err
	}
	fd, err := unix.MemfdCreate("bkc.ko", 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, m.elf()); err != nil {
		return err
	}
	return unix.FinitModule(fd, "", unix.MODULE_INIT_IGNORE_MODVERSIONS|unix.MODULE_INIT_IGNORE_VERMAGIC)
}

type module struct {
	name    string
	symbols map[string]uint64 // the kernel's
	err     error             // the first

	data  [sections][]byte
	funcs []function

	size, offName, offInit    uint32 // of struct module
	bugSize, bugAddr, bugFile uint32 // of struct bug_entry
	bugLine, bugFlags         uint32
}

type function struct {
	name     string
	from, to int // in the code
}

// The module's sections, by number. Relocations of one are in the next.
const (
	secText = iota + 1
	secRelaText
	secInfo
	secModule
	secRelaModule
	secBugs
	secRelaBugs
	secStrings
	secData
	secRelaData
	secSymtab
	secStrtab
	secShstrtab
	sections
)

// bugFile is the source file that reports name. Older kernels count its place
// from the entry and newer ones from the member, four bytes on: both find it.
const bugFile = "bkc/bkc/crash.c"

var le = binary.LittleEndian

// look reads where things are in this kernel.
func (m *module) look() error {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	var mod, entry *btf.Struct
	if err := spec.TypeByName("module", &mod); err != nil {
		return err
	}
	if err := spec.TypeByName("bug_entry", &entry); err != nil {
		return err
	}
	member := func(s *btf.Struct, name string) uint32 {
		for _, f := range s.Members {
			if f.Name == name {
				return f.Offset.Bytes()
			}
		}
		return 0
	}
	m.size, m.offName, m.offInit = mod.Size, member(mod, "name"), member(mod, "init")
	m.bugSize, m.bugAddr, m.bugFile = entry.Size, member(entry, "bug_addr_disp"), member(entry, "file_disp")
	m.bugLine, m.bugFlags = member(entry, "line"), member(entry, "flags")

	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return err
	}
	defer f.Close()
	m.symbols = map[string]uint64{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 {
			continue
		}
		if v, err := strconv.ParseUint(fields[0], 16, 64); err == nil && v != 0 {
			m.symbols[fields[2]] = v
		}
	}
	return s.Err()
}

func (m *module) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// at is where the next instruction goes.
func (m *module) at() int { return len(m.data[secText]) }

func (m *module) emit(b ...byte) { m.data[secText] = append(m.data[secText], b...) }

func (m *module) imm64(v uint64) { m.data[secText] = le.AppendUint64(m.data[secText], v) }

// rel32 is how far a jump goes, to a place in the code.
func (m *module) rel32(to int) {
	m.data[secText] = le.AppendUint32(m.data[secText], uint32(to-(m.at()+4)))
}

// call calls the first of the kernel's functions that there is.
func (m *module) call(names ...string) {
	for _, n := range names {
		if addr := m.symbols[n]; addr != 0 {
			m.emit(0x31, 0xc0, 0x49, 0xbb) // xor eax, eax; movabs r11
			m.imm64(addr)
			m.emit(0x41, 0xff, 0xd3) // call r11
			return
		}
	}
	m.fail(fmt.Errorf("this kernel has none of the functions %v", names))
}

// Arguments of a call.
func (m *module) arg(n int, v uint64) {
	m.emit(0x48, []byte{0xbf, 0xbe, 0xba, 0xb9}[n]) // movabs rdi, rsi, rdx, rcx
	m.imm64(v)
}

func (m *module) argAddress(n, section, offset int) {
	m.arg(n, 0)
	m.reloc(secText, m.at()-8, elf.R_X86_64_64, section, offset)
}

// reloc puts the address of an offset in a section at a place in another one.
func (m *module) reloc(in, at int, kind elf.R_X86_64, section, offset int) {
	m.data[in+1], _ = binary.Append(m.data[in+1], le, elf.Rela64{
		Off: uint64(at), Info: elf.R_INFO(uint32(section), uint32(kind)), // symbol n is section n
		Addend: int64(offset),
	})
}

// link is an address in the data.
func (m *module) link(at, section, offset int) {
	m.reloc(secData, at, elf.R_X86_64_64, section, offset)
}

// fn writes a function with a frame.
func (m *module) fn(name string, body func()) {
	start := m.at()
	m.emit(0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5) // endbr64; push rbp; mov rbp, rsp
	body()
	m.emit(0x31, 0xc0, 0x5d, 0xc3) // xor eax, eax; pop rbp; ret
	m.funcs = append(m.funcs, function{name, start, m.at()})
	for m.at()%16 != 0 {
		m.emit(0xcc)
	}
}

// Flags of struct bug_entry.
const (
	bugWarning  = 1<<0 | 9<<8 // TAINT_WARN
	sleepMillis = 6_000
)

// ud2 is an invalid instruction that the kernel knows.
func (m *module) ud2(flags uint16) {
	at := len(m.data[secBugs])
	entry := make([]byte, m.bugSize)
	le.PutUint16(entry[m.bugLine:], 42)
	le.PutUint16(entry[m.bugFlags:], flags)
	m.data[secBugs] = append(m.data[secBugs], entry...)
	m.reloc(secBugs, at+int(m.bugAddr), elf.R_X86_64_PC32, secText, m.at())
	m.reloc(secBugs, at+int(m.bugFile), elf.R_X86_64_PC32, secStrings, int(m.bugFile))
	m.emit(0x0f, 0x0b)
}

// write makes what is to go wrong. "late-" in front has it happen when the VM
// goes down, "thread-" in a thread of the kernel.
func (m *module) write(what string) {
	m.data[secInfo] = []byte("license=GPL\x00name=" + m.name + "\x00vermagic=bkc\x00retpoline=Y\x00")
	m.data[secModule] = make([]byte, m.size)
	copy(m.data[secModule][m.offName:], m.name)
	m.data[secStrings] = []byte(bugFile + "\x00bkc_thread\x00")
	m.data[secData] = make([]byte, 256)

	how := ""
	for _, h := range []string{"late", "thread"} {
		if rest, ok := strings.CutPrefix(what, h+"-"); ok {
			how, what = h, rest
		}
	}
	body, ok := m.wrongs()[what]
	if !ok {
		m.fail(fmt.Errorf("unknown mode %q of the module", what))
		return
	}
	m.fn("bkc_"+strings.ReplaceAll(what, "-", "_"), body)
	m.reloc(secModule, int(m.offInit), elf.R_X86_64_64, secText, m.at())
	m.fn("init_module", func() {
		switch how {
		case "late": // struct notifier_block starts with the function
			m.link(128, secText, 0)
			m.argAddress(0, secData, 128)
			m.call("register_reboot_notifier")
		case "thread":
			m.argAddress(0, secText, 0)
			m.arg(1, 0)
			m.arg(2, ^uint64(0)) // on any node
			m.argAddress(3, secStrings, len(bugFile)+1)
			m.call("kthread_create_on_node")
			m.emit(0x48, 0x89, 0xc7) // mov rdi, rax
			m.call("wake_up_process")
		default:
			m.emit(0xe8) // call
			m.rel32(0)
		}
	})
}

// wrongs are the wrong things.
func (m *module) wrongs() map[string]func() {
	load := func(addr uint64) func() {
		return func() {
			m.emit(0x48, 0xb8) // movabs rax
			m.imm64(addr)
			m.emit(0x8b, 0x00) // mov eax, [rax]
		}
	}
	locked := func(then ...byte) func() {
		return func() {
			m.argAddress(0, secData, 0)
			m.call("_raw_spin_lock")
			m.emit(then...)
		}
	}
	return map[string]func(){
		"warn":     func() { m.ud2(bugWarning) },
		"bug":      func() { m.ud2(0) },
		"null":     load(0x10),
		"fault":    load(0xffffffffff000000),
		"gp":       load(0xdead000000000100),
		"divide":   func() { m.emit(0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1) }, // div ecx, of zero
		"jump":     func() { m.emit(0x31, 0xc0, 0xff, 0xd0) },             // call of a null pointer
		"overflow": func() { m.emit(0xe8, 0xfb, 0xff, 0xff, 0xff) },       // calls itself
		// The watchdog's threads do not get the CPU, with a lock held not even
		// of kernels that preempt.
		"spin": locked(0xf3, 0x90, 0xeb, 0xfc), // pause; jmp
		// The same, while a grace period waits for this CPU.
		"stall": func() {
			m.argAddress(0, secData, 192)
			m.argAddress(1, secText, 0) // never called
			m.call("call_rcu")
			locked(0xf3, 0x90, 0xeb, 0xfc)()
		},
		"dead": locked(0xfa, 0xf3, 0x90, 0xeb, 0xfc), // cli; pause; jmp
		"sleep": func() {
			m.arg(0, sleepMillis)
			m.call("msleep")
		},
		"sleep-locked": func() {
			locked()()
			m.arg(0, 20)
			m.call("msleep")
			m.argAddress(0, secData, 0)
			m.call("_raw_spin_unlock")
		},
		"refcount": func() {
			m.argAddress(0, secData, 16)
			m.arg(1, 3) // REFCOUNT_SUB_UAF
			m.call("refcount_warn_saturate")
		},
		"list": func() { // a list whose next does not point back
			m.link(32, secData, 32)
			m.link(40, secData, 32)
			m.link(48, secData, 48)
			m.link(56, secData, 48)
			m.argAddress(0, secData, 64)
			m.argAddress(1, secData, 32)
			m.argAddress(2, secData, 48)
			m.call("__list_add_valid_or_report", "__list_add_valid")
		},
		"bounds": func() { // struct out_of_bounds_data and its types
			const file, array, index = 64, 104, 120
			m.link(file, secStrings, 0)
			m.link(file+16, secData, array)
			m.link(file+24, secData, index)
			le.PutUint32(m.data[secData][file+8:], 42)
			le.PutUint32(m.data[secData][file+12:], 7)
			copy(m.data[secData][array:], "\xff\xff\x00\x00'int[4]'")
			copy(m.data[secData][index:], "\x00\x00\x0b\x00'int'")
			m.argAddress(0, secData, file)
			m.arg(1, 9)
			m.call("__ubsan_handle_out_of_bounds")
		},
		"kfence": func() { // allocates until the guard has it, and reads it when it is free
			pool := m.symbols["__kfence_pool"]
			if pool == 0 {
				m.fail(fmt.Errorf("this kernel has no KFENCE"))
			}
			m.emit(0x53) // push rbx
			loop := m.at()
			m.kmalloc()
			m.emit(0x48, 0xb9) // movabs rcx
			m.imm64(pool)
			m.emit(0x48, 0x8b, 0x09, 0x48, 0x89, 0xc2, 0x48, 0x29, 0xca) // mov rcx, [rcx]; mov rdx, rax; sub rdx, rcx
			m.emit(0x48, 0x81, 0xfa, 0x00, 0x00, 0x20, 0x00, 0x0f, 0x83) // cmp rdx, 2 MiB; jae
			m.rel32(loop)
			m.emit(0x48, 0x89, 0xdf) // mov rdi, rbx
			m.call("kfree")
			m.emit(0x8b, 0x03, 0x5b) // mov eax, [rbx]; pop rbx
		},
		"poison": func() { // writes to what is free, and allocates it again
			m.emit(0x53) // push rbx
			m.kmalloc()
			m.emit(0x48, 0x89, 0xdf) // mov rdi, rbx
			m.call("kfree")
			m.emit(0xc7, 0x43, 0x08, 0, 0, 0, 0) // mov dword [rbx+8], 0
			m.kmalloc()
			m.emit(0x5b) // pop rbx
		},
	}
}

// kmalloc allocates 32 bytes and leaves their address in rax and rbx.
func (m *module) kmalloc() {
	m.arg(0, 32)
	m.arg(1, 0xcc0) // GFP_KERNEL
	m.call("__kmalloc_noprof", "__kmalloc")
	m.emit(0x48, 0x89, 0xc3) // mov rbx, rax
}

// elf is the module as a file.
func (m *module) elf() []byte {
	m.data[secStrtab] = []byte{0}
	sym := func(name string, info byte, section, value, size int) {
		s := elf.Sym64{Info: info, Shndx: uint16(section), Value: uint64(value), Size: uint64(size)}
		if name != "" {
			s.Name = uint32(len(m.data[secStrtab]))
			m.data[secStrtab] = append(m.data[secStrtab], name+"\x00"...)
		}
		m.data[secSymtab], _ = binary.Append(m.data[secSymtab], le, s)
	}
	sym("", 0, 0, 0, 0)
	for s := secText; s < sections; s++ {
		sym("", byte(elf.STT_SECTION), s, 0, 0)
	}
	for _, f := range m.funcs {
		sym(f.name, elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), secText, f.from, f.to-f.from)
	}

	type header struct {
		name    string
		kind    elf.SectionType
		flags   elf.SectionFlag
		entsize uint64
		link    uint32
		info    uint32
	}
	const a, w, x = elf.SHF_ALLOC, elf.SHF_WRITE, elf.SHF_EXECINSTR
	headers := [sections]header{
		secText:     {name: ".text", kind: elf.SHT_PROGBITS, flags: a | x},
		secInfo:     {name: ".modinfo", kind: elf.SHT_PROGBITS, flags: a},
		secModule:   {name: ".gnu.linkonce.this_module", kind: elf.SHT_PROGBITS, flags: a | w},
		secBugs:     {name: "__bug_table", kind: elf.SHT_PROGBITS, flags: a | w},
		secStrings:  {name: ".rodata.str", kind: elf.SHT_PROGBITS, flags: a},
		secData:     {name: ".data", kind: elf.SHT_PROGBITS, flags: a | w},
		secSymtab:   {name: ".symtab", kind: elf.SHT_SYMTAB, entsize: 24, link: secStrtab, info: sections}, // the first symbol that is not local
		secStrtab:   {name: ".strtab", kind: elf.SHT_STRTAB},
		secShstrtab: {name: ".shstrtab", kind: elf.SHT_STRTAB},
	}
	for _, s := range []int{secText, secModule, secBugs, secData} {
		headers[s+1] = header{".rela" + headers[s].name, elf.SHT_RELA, elf.SHF_INFO_LINK, 24, secSymtab, uint32(s)}
	}
	var names [sections]uint32
	m.data[secShstrtab] = []byte{0}
	for s := secText; s < sections; s++ {
		names[s] = uint32(len(m.data[secShstrtab]))
		m.data[secShstrtab] = append(m.data[secShstrtab], headers[s].name+"\x00"...)
	}

	const headerSize, sectionHeaderSize, align = 64, 64, 64
	body := make([]byte, headerSize)
	table := make([]byte, sectionHeaderSize)
	for s := secText; s < sections; s++ {
		for len(body)%align != 0 {
			body = append(body, 0)
		}
		h := headers[s]
		table, _ = binary.Append(table, le, elf.Section64{
			Name: names[s], Type: uint32(h.kind), Flags: uint64(h.flags), Off: uint64(len(body)), Size: uint64(len(m.data[s])),
			Link: h.link, Info: h.info, Addralign: 16, Entsize: h.entsize,
		})
		body = append(body, m.data[s]...)
	}
	head, _ := binary.Append(nil, le, elf.Header64{
		Ident:   [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_REL),
		Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Shoff: uint64(len(body)),
		Ehsize: headerSize, Shentsize: sectionHeaderSize, Shnum: sections, Shstrndx: secShstrtab,
	})
	copy(body, head)
	return append(body, table...)
}
