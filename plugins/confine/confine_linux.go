package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Apply sets the limits on open files, memory and core dumps on the calling process.
func Apply(l Limits) error {
	for _, limit := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"open files", syscall.RLIMIT_NOFILE, l.Files},
		{"memory", syscall.RLIMIT_DATA, l.DataBytes},
		{"core dumps", syscall.RLIMIT_CORE, 0}, // a core holds the credentials of the calls in flight
	} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(limit.resource, &now); err != nil {
			return fmt.Errorf("reading the limit on %s: %w", limit.name, err)
		}
		value := min(limit.value, now.Max) // an unprivileged process cannot raise it
		if err := syscall.Setrlimit(limit.resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
			return fmt.Errorf("setting the limit on %s: %w", limit.name, err)
		}
	}
	return nil
}

func become(l Limits) error {
	runtime.LockOSThread() // no_new_privs, landlock and capabilities are the thread's, and exec keeps the calling one's
	if err := Apply(l); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	if !l.Script {
		// An interpreter opens the descriptor after exec; a program does not need it.
		unix.CloseOnExec(FileDescriptor)
	}
	if l.Landlock {
		if err := landlock(l); err != nil {
			return err
		}
	}
	// A gateway run by root must not hand root's capabilities down: CAP_PERFMON alone opens the memory of others.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if !l.Processes {
		if err := noProcesses(); err != nil {
			return err
		}
	}
	err := syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", FileDescriptor), os.Args, os.Environ())
	return fmt.Errorf("executing the plugin: %w", err)
}

const (
	accessRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// The first version of landlock knows the rights up to MAKE_SYM.
	accessV1 = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1
	// Of these rights only some mean something for a file that is not a directory.
	accessFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// systemPaths is what programs of any language read: libraries, certificates, name resolution, time zones. /etc is not
// among them as a whole, for it may hold the gateway's configuration.
func systemPaths() []string {
	return []string{
		"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/proc", "/sys/devices/system",
		"/sys/fs/cgroup", "/sys/kernel/mm", "/dev/urandom", "/dev/random", "/etc/ssl", "/etc/pki",
		"/etc/ca-certificates", "/etc/alternatives", "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf",
		"/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/passwd", "/etc/group", "/etc/localtime",
		"/etc/ld.so.cache", "/etc/mime.types", "/run/systemd/resolve",
	}
}

// landlock confines the thread as far as the kernel can; a kernel without landlock is no error.
func landlock(l Limits) error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: accessV1}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		size = unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("creating a landlock ruleset: %w", errno)
	}
	ruleset := int(fd)
	defer func() { _ = unix.Close(ruleset) }()
	for _, path := range systemPaths() {
		if err := allow(ruleset, path, accessRead); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, path := range l.ReadPaths {
		if err := allow(ruleset, path, accessRead); err != nil {
			return err
		}
	}
	for _, path := range append([]string{"/dev/null", "/dev/zero"}, l.WritePaths...) {
		if err := allow(ruleset, path, attr.Handled_access_fs); err != nil {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("applying landlock: %w", errno)
	}
	return nil
}

func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s for landlock: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("reading %s for landlock: %w", path, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= accessFile
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("allowing %s by landlock: %w", path, errno)
	}
	return nil
}
