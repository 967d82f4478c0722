//! `libseccomp.so.2`, loaded at run time (`include/seccomp.h.in` of 2.5).

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::marker::PhantomData;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};

use crate::DifftestError;

/// `struct scmp_arg_cmp`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArgCmp {
    pub(crate) arg: c_uint,
    pub(crate) op: c_int,
    pub(crate) datum_a: u64,
    pub(crate) datum_b: u64,
}

/// `struct scmp_version`.
#[repr(C)]
struct Version {
    numbers: [c_uint; 3],
}

/// `SCMP_FLTATR_CTL_OPTIMIZE`, and its value for a binary tree.
const OPTIMIZE: c_int = 8;
const BINARY_TREE: u32 = 2;

type Context = *mut c_void;
type InitFn = unsafe extern "C" fn(u32) -> Context;
type ReleaseFn = unsafe extern "C" fn(Context);
type ArchNativeFn = unsafe extern "C" fn() -> u32;
type ArchAddFn = unsafe extern "C" fn(Context, u32) -> c_int;
type ArchRemoveFn = unsafe extern "C" fn(Context, u32) -> c_int;
type AttrSetFn = unsafe extern "C" fn(Context, c_int, u32) -> c_int;
type ResolveNameFn = unsafe extern "C" fn(*const c_char) -> c_int;
type RuleAddFn = unsafe extern "C" fn(Context, u32, c_int, c_uint, *const ArgCmp) -> c_int;
type ExportBpfFn = unsafe extern "C" fn(Context, c_int) -> c_int;
type VersionFn = unsafe extern "C" fn() -> *const Version;

/// Its functions. The library stays loaded for good, so that they stay valid.
#[derive(Debug)]
pub(crate) struct Library {
    init: InitFn,
    release: ReleaseFn,
    arch_native: ArchNativeFn,
    arch_add: ArchAddFn,
    arch_remove: ArchRemoveFn,
    attr_set: AttrSetFn,
    resolve_name: ResolveNameFn,
    rule_add: RuleAddFn,
    export_bpf: ExportBpfFn,
    version: VersionFn,
}

/// `__NR_SCMP_ERROR`.
const UNKNOWN_CALL: c_int = -1;

/// Finds a function and gives it its type.
macro_rules! function {
    ($library:expr, $name:literal as $function:ty) => {{
        let name: &CStr = $name;
        // SAFETY: the library is loaded and the name ends in a zero byte.
        let symbol = unsafe { libc::dlsym($library.as_ptr(), name.as_ptr()) };
        if symbol.is_null() {
            return Err(DifftestError::Symbol {
                name: name.to_string_lossy().into_owned(),
            });
        }
        // SAFETY: the field's type is the function's type in libseccomp's
        // header; a function pointer has the size of a data pointer here.
        unsafe { std::mem::transmute::<*mut c_void, $function>(symbol) }
    }};
}

impl Library {
    pub(crate) fn load() -> Result<Self, DifftestError> {
        const FILE: &CStr = c"libseccomp.so.2";
        // SAFETY: the name ends in a zero byte; libseccomp's constructors
        // do nothing that others could notice.
        let library = unsafe { libc::dlopen(FILE.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let library = NonNull::new(library).ok_or(DifftestError::NotThere)?;
        Ok(Self {
            init: function!(library, c"seccomp_init" as InitFn),
            release: function!(library, c"seccomp_release" as ReleaseFn),
            arch_native: function!(library, c"seccomp_arch_native" as ArchNativeFn),
            arch_add: function!(library, c"seccomp_arch_add" as ArchAddFn),
            arch_remove: function!(library, c"seccomp_arch_remove" as ArchRemoveFn),
            attr_set: function!(library, c"seccomp_attr_set" as AttrSetFn),
            resolve_name: function!(library, c"seccomp_syscall_resolve_name" as ResolveNameFn),
            rule_add: function!(library, c"seccomp_rule_add_array" as RuleAddFn),
            export_bpf: function!(library, c"seccomp_export_bpf" as ExportBpfFn),
            version: function!(library, c"seccomp_version" as VersionFn),
        })
    }

    pub(crate) fn version(&self) -> [u32; 3] {
        // SAFETY: takes nothing, and returns a pointer to a constant.
        let version = unsafe { (self.version)() };
        // SAFETY: the constant is there as long as the library.
        unsafe { version.as_ref() }.map_or([0; 3], |version| version.numbers)
    }

    /// The number of a call on the machine's own architecture, or
    /// libseccomp's stand-in for one that it does not have.
    pub(crate) fn resolve(&self, name: &str) -> Option<c_int> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name ends in a zero byte and is only read.
        let number = unsafe { (self.resolve_name)(name.as_ptr()) };
        (number != UNKNOWN_CALL).then_some(number)
    }

    pub(crate) fn filter(&self, default: u32) -> Result<Filter<'_>, DifftestError> {
        // SAFETY: takes a number, returns a context or null.
        let context = unsafe { (self.init)(default) };
        let context = NonNull::new(context).ok_or(DifftestError::Init { action: default })?;
        Ok(Filter {
            library: self,
            context,
            not_send: PhantomData,
        })
    }
}

/// A filter that is being built.
pub(crate) struct Filter<'a> {
    library: &'a Library,
    context: NonNull<c_void>,
    not_send: PhantomData<*mut ()>,
}

impl Filter<'_> {
    /// Makes these the filter's architectures.
    pub(crate) fn set_arches(&self, arches: &[u32]) -> Result<(), DifftestError> {
        for &arch in arches {
            // SAFETY: the context is live; the call takes numbers.
            let ret = unsafe { (self.library.arch_add)(self.context.as_ptr(), arch) };
            if ret != 0 && ret != -libc::EEXIST {
                return Err(DifftestError::Arch { arch, errno: -ret });
            }
        }
        // SAFETY: takes nothing, returns a number.
        let native = unsafe { (self.library.arch_native)() };
        if !arches.contains(&native) {
            // SAFETY: the context is live; the call takes numbers.
            let ret = unsafe { (self.library.arch_remove)(self.context.as_ptr(), native) };
            if ret != 0 {
                let (arch, errno) = (native, -ret);
                return Err(DifftestError::Arch { arch, errno });
            }
        }
        Ok(())
    }

    pub(crate) fn set_binary_tree(&self) -> Result<(), DifftestError> {
        // SAFETY: the context is live; the call takes numbers.
        let ret = unsafe { (self.library.attr_set)(self.context.as_ptr(), OPTIMIZE, BINARY_TREE) };
        if ret == 0 {
            Ok(())
        } else {
            Err(DifftestError::Optimize { errno: -ret })
        }
    }

    /// Adds a rule; the errno where libseccomp refuses it.
    pub(crate) fn add_rule(&self, action: u32, call: c_int, tests: &[ArgCmp]) -> Result<(), i32> {
        // At most six; libseccomp refuses more.
        let count = c_uint::try_from(tests.len()).unwrap_or(c_uint::MAX);
        let array = if tests.is_empty() {
            ptr::null()
        } else {
            tests.as_ptr()
        };
        // SAFETY: the context is live and `array` has `count` elements,
        // which are only read.
        let ret =
            unsafe { (self.library.rule_add)(self.context.as_ptr(), action, call, count, array) };
        if ret == 0 { Ok(()) } else { Err(-ret) }
    }

    /// The raw filter.
    pub(crate) fn export(&self) -> Result<Vec<u8>, DifftestError> {
        let memory = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC).map_err(
            |errno| DifftestError::Export {
                errno: errno.raw_os_error(),
            },
        )?;
        let mut file = File::from(memory);
        // SAFETY: the context is live; the descriptor is open.
        let ret = unsafe { (self.library.export_bpf)(self.context.as_ptr(), file.as_raw_fd()) };
        if ret != 0 {
            return Err(DifftestError::Export { errno: -ret });
        }
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(|error| DifftestError::Export {
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            })?;
        Ok(bytes)
    }
}

impl Drop for Filter<'_> {
    fn drop(&mut self) {
        // SAFETY: the context is live, and nothing uses it afterwards.
        unsafe { (self.library.release)(self.context.as_ptr()) };
    }
}
