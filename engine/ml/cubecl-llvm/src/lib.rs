//! The types of `cubecl-llvm` 0.11.3 that `cubecl-cuda` names, without LLVM.
//!
//! `cubecl-cuda` has two ways to compile a kernel: CUDA C++ through NVRTC, and LLVM. It always depends on the second, whose
//! build downloads a bundle of LLVM. Ruminate takes the first (feature `cpp`), so this crate only has to be there:
//! whoever would reach it gets an error that says so.

/// What `cubecl-cuda` reads of the PTX version.
pub mod nvptx {
    /// The PTX version.
    pub mod ptx_version {
        /// A PTX version; only the LLVM way uses it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(u32);

        impl PtxVersion {
            /// Always `None`: nothing here emits PTX.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(formatter, "ptx{}", self.0)
            }
        }
    }
}

/// What `cubecl-cuda` reads of shared lowering.
pub mod shared {
    /// The features that the LLVM way lowers.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// The target to narrow for.
        #[derive(Clone, Copy, Debug)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// Changes nothing: only the LLVM way asks.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

use cubecl_core::ir::attributes::BufferIOAttr;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::CompilationError;
use cubecl_core::prelude::KernelDefinition;
use nvptx::ptx_version::PtxVersion;

/// The target of a compilation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA.
    #[default]
    Nvptx,
}

/// The compiler that is not there.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// The target.
    pub target: LlvmTarget,
}

/// Options of a compilation.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// AMD architecture: never set.
    pub arch: Option<()>,
    /// NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// PTX version.
    pub ptx_version: Option<PtxVersion>,
    /// Whether parameters are passed in the kernel parameter block.
    pub grid_constants: bool,
    /// Keeps `..Default::default()` of the caller meaningful.
    pub other: (),
}

/// A compiled module.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// NUL-terminated PTX.
    pub ptx: Vec<core::ffi::c_char>,
    /// Entry point.
    pub entrypoint: String,
    /// Source for logs.
    pub ir: String,
    /// Shared memory per launch, in bytes.
    pub shared_memory_size: usize,
    /// How each buffer is accessed.
    pub io: Vec<BufferIOAttr>,
}

/// The result of a compilation.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// Code for NVIDIA.
    NvptxCode(NvptxModule),
    /// Anything else.
    Other,
}

impl PlironCompiler {
    /// Always an error that names the way that is there.
    ///
    /// # Errors
    /// Always.
    pub fn compile(&mut self, _kernel: KernelDefinition, _options: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build compiles CUDA kernels with NVRTC; build `cubecl-cuda` with its feature `cpp`".to_owned(),
            backtrace: cubecl_environment::backtrace::BackTrace::capture(),
        })
    }

    /// The file extension of the source: never used.
    pub fn extension(&self) -> &'static str {
        "ll"
    }

    /// The language's tag: never used.
    pub fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
