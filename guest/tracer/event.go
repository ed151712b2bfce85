package main

import "strconv"

// The event types, as EventsTrace names them.
const (
	typeFork          = "PROCESS_FORK"
	typeExec          = "PROCESS_EXEC"
	typeExit          = "PROCESS_EXIT"
	typeSetsid        = "PROCESS_SETSID"
	typeSetuid        = "PROCESS_SETUID"
	typeSetgid        = "PROCESS_SETGID"
	typeTTYWrite      = "PROCESS_TTY_WRITE"
	typeMemfdCreate   = "PROCESS_MEMFD_CREATE"
	typeShmget        = "PROCESS_SHMGET"
	typePtrace        = "PROCESS_PTRACE"
	typeLoadModule    = "PROCESS_LOAD_MODULE"
	typeFileCreate    = "FILE_CREATE"
	typeFileRename    = "FILE_RENAME"
	typeFileDelete    = "FILE_DELETE"
	typeFileModify    = "FILE_MODIFY"
	typeFileMemfdOpen = "FILE_MEMFD_OPEN"
	typeFileShmemOpen = "FILE_SHMEM_OPEN"
	typeNetAttempted  = "NETWORK_CONNECTION_ATTEMPTED"
	typeNetAccepted   = "NETWORK_CONNECTION_ACCEPTED"
	typeNetClosed     = "NETWORK_CONNECTION_CLOSED"
)

// typeNames has the event types in the order of enum event_type, less one.
var typeNames = [...]string{
	typeFork, typeExec, typeExit, typeSetsid, typeSetuid, typeSetgid, typeTTYWrite,
	typeMemfdCreate, typeShmget, typePtrace, typeLoadModule, typeFileCreate,
	typeFileRename, typeFileDelete, typeFileModify, typeFileMemfdOpen,
	typeFileShmemOpen, typeNetAttempted, typeNetAccepted, typeNetClosed,
}

// An event is one of the structs below; its JSON is a line of output.
type event interface{ eventType() string }

type common struct {
	Type string `json:"event_type"`
}

func (c common) eventType() string { return c.Type }

// pids, creds, tty and namespaces are laid out as in bpf/sample.h.
type pids struct {
	TID         uint32 `json:"tid"`
	TGID        uint32 `json:"tgid"`
	PPID        uint32 `json:"ppid"`
	PGID        uint32 `json:"pgid"`
	SID         uint32 `json:"sid"`
	_           uint32
	StartTimeNS uint64 `json:"start_time_ns"`
}

type creds struct {
	RUID         uint32 `json:"ruid"`
	RGID         uint32 `json:"rgid"`
	EUID         uint32 `json:"euid"`
	EGID         uint32 `json:"egid"`
	SUID         uint32 `json:"suid"`
	SGID         uint32 `json:"sgid"`
	CapPermitted uint64 `json:"cap_permitted,string"`
	CapEffective uint64 `json:"cap_effective,string"`
}

type tty struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
	Rows  uint16 `json:"winsize_rows"`
	Cols  uint16 `json:"winsize_cols"`
	_     uint32
}

type namespaces struct {
	UTS    uint32 `json:"uts"`
	IPC    uint32 `json:"ipc"`
	Mnt    uint32 `json:"mnt"`
	Net    uint32 `json:"net"`
	Cgroup uint32 `json:"cgroup"`
	Time   uint32 `json:"time"`
	PID    uint32 `json:"pid"`
}

// octal prints as a JSON number of octal digits: 0o100644 as 100644.
type octal uint32

// MarshalJSON implements json.Marshaler.
func (o octal) MarshalJSON() ([]byte, error) {
	return strconv.AppendUint(nil, uint64(o), 8), nil
}

type fileInfo struct {
	Type  string `json:"type"`
	Inode uint64 `json:"inode"`
	Mode  octal  `json:"mode"`
	Size  uint64 `json:"size"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	ATime uint64 `json:"atime"`
	MTime uint64 `json:"mtime"`
	CTime uint64 `json:"ctime"`
}

type forkEvent struct {
	common
	Parent     pids       `json:"parent_pids"`
	Child      pids       `json:"child_pids"`
	Creds      creds      `json:"creds"`
	CTTY       tty        `json:"ctty"`
	Comm       string     `json:"comm"`
	Namespaces namespaces `json:"ns"`
	CgroupPath string     `json:"pids_ss_cgroup_path"`
	CWD        string     `json:"cwd"`
}

type execEvent struct {
	common
	PIDs       pids     `json:"pids"`
	Creds      creds    `json:"creds"`
	CTTY       tty      `json:"ctty"`
	Comm       string   `json:"comm"`
	Setuid     bool     `json:"is_setuid"`
	Setgid     bool     `json:"is_setgid"`
	Memfd      bool     `json:"is_memfd"`
	NLink      uint32   `json:"inode_nlink"`
	CgroupPath string   `json:"pids_ss_cgroup_path"`
	Argv       []string `json:"argv"`
	Env        []string `json:"env"`
	CWD        string   `json:"cwd"`
	Filename   string   `json:"filename"`
}

type exitEvent struct {
	common
	PIDs       pids   `json:"pids"`
	CTTY       tty    `json:"ctty"`
	Comm       string `json:"comm"`
	ExitCode   uint32 `json:"exit_code"`
	CgroupPath string `json:"pids_ss_cgroup_path"`
}

type setsidEvent struct {
	common
	PIDs pids `json:"pids"`
}

type setuidEvent struct {
	common
	PIDs pids   `json:"pids"`
	RUID uint32 `json:"new_ruid"`
	EUID uint32 `json:"new_euid"`
}

type setgidEvent struct {
	common
	PIDs pids   `json:"pids"`
	RGID uint32 `json:"new_rgid"`
	EGID uint32 `json:"new_egid"`
}

type ttyWriteEvent struct {
	common
	PIDs      pids   `json:"pids"`
	Truncated uint32 `json:"tty_out_truncated"`
	TTY       tty    `json:"tty"`
	Comm      string `json:"comm"`
	Out       string `json:"tty_out"`
}

type memfdCreateEvent struct {
	common
	PIDs         pids   `json:"pids"`
	Flags        uint32 `json:"flags"`
	CloseOnExec  bool   `json:"flag_cloexec"`
	AllowSealing bool   `json:"flag_allow_seal"`
	HugeTLB      bool   `json:"flag_hugetlb"`
	NoExecSeal   bool   `json:"flag_noexec_seal"`
	Exec         bool   `json:"flag_exec"`
	Filename     string `json:"filename"`
}

type shmgetEvent struct {
	common
	PIDs  pids   `json:"pids"`
	Key   int64  `json:"key"`
	Size  uint64 `json:"size"`
	Flags int64  `json:"shmflg"`
}

type ptraceEvent struct {
	common
	PIDs     pids  `json:"pids"`
	ChildPID int64 `json:"child_pid"`
	Request  int64 `json:"request"`
}

type loadModuleEvent struct {
	common
	PIDs       pids   `json:"pids"`
	Filename   string `json:"filename"`
	Version    string `json:"mod_version"`
	SrcVersion string `json:"mod_srcversion"`
}

// fileEvent serves all FILE_* types: Path all but FILE_RENAME, which has
// OldPath and NewPath; ChangeType only FILE_MODIFY.
type fileEvent struct {
	common
	PIDs           pids     `json:"pids"`
	Creds          creds    `json:"creds"`
	MountNamespace uint32   `json:"mount_namespace"`
	Comm           string   `json:"comm"`
	ChangeType     string   `json:"change_type,omitempty"`
	Info           fileInfo `json:"file_info"`
	Path           *string  `json:"path,omitempty"`
	OldPath        *string  `json:"old_path,omitempty"`
	NewPath        *string  `json:"new_path,omitempty"`
	SymlinkTarget  string   `json:"symlink_target_path"`
	CgroupPath     string   `json:"pids_ss_cgroup_path"`
}

type connection struct {
	Transport          string  `json:"transport"`
	Family             string  `json:"family"`
	SourceAddress      string  `json:"source_address"`
	SourcePort         uint16  `json:"source_port"`
	DestinationAddress string  `json:"destination_address"`
	DestinationPort    uint16  `json:"destination_port"`
	NetworkNamespace   uint32  `json:"network_namespace"`
	BytesSent          *uint64 `json:"bytes_sent,omitempty"` // only in closed
	BytesReceived      *uint64 `json:"bytes_received,omitempty"`
}

type netEvent struct {
	common
	PIDs pids       `json:"pids"`
	Net  connection `json:"net"`
	Comm string     `json:"comm"`
}
