# Read by scripts/test-setup.sh: the compilers that build the policies of sdk/templates, each at .cache/NAME where the tests
# look for it. What the machine has is used; the rest comes from PyPI, npm and Debian, in versions that are pinned here.

# packages NAME...: installs the Debian packages that are missing; false where that cannot be.
packages() {
	local missing=() as_root=() name
	for name in "$@"; do dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name"); done
	[ ${#missing[@]} != 0 ] || return 0
	command -v apt-get >/dev/null || return 1
	if [ "$(id -u)" != 0 ]; then
		sudo -n true 2>/dev/null || return 1
		as_root=(sudo -n)
	fi
	echo "set-up: installing ${missing[*]}"
	local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}")
	"${install[@]}" >.cache/apt.log 2>&1 || { "${as_root[@]}" apt-get update -q >/dev/null 2>&1 && "${install[@]}" >.cache/apt.log 2>&1; }
}

# wrapper PATH COMMAND...: a program at the path that is the command with more arguments.
wrapper() {
	local path=$1
	shift
	mkdir -p "$(dirname "$path")"
	{ echo '#!/bin/sh'; printf 'exec'; printf ' %q' "$@"; echo ' "$@"'; } >"$path.new"
	chmod +x "$path.new"
	mv "$path.new" "$path"
}

# makes_wasm COMPILER: tells whether it compiles and links C to WebAssembly.
makes_wasm() {
	command -v "$1" >/dev/null && echo 'int f(void) { return 1; }' |
		"$1" --target=wasm32 -mbulk-memory -nostdlib -Wl,--no-entry -x c -o .cache/probe.wasm - 2>/dev/null
}

setup_c() {
	local compiler packages_tried=
	while :; do
		for compiler in clang-21 clang-20 clang-19 clang-18 clang-17 clang; do
			if makes_wasm "$compiler"; then
				wrapper .cache/c/clang "$compiler"
				return
			fi
		done
		[ -z "$packages_tried" ] && packages clang-19 lld-19 || break
		packages_tried=yes
	done
	without "policies in C" "there is no clang and lld for WebAssembly, and they cannot be installed: apt-get install clang-19 lld-19"
}

setup_zig() {
	once .cache/zig/stamp scripts/toolchains.sh || return 0
	if ! command -v python3 >/dev/null || ! python3 -c 'import venv' 2>/dev/null; then
		without "policies in Zig" "there is no python3 with venv to install it with"
		return
	fi
	echo "set-up: installing Zig into .cache/zig"
	rm -rf .cache/zig
	if python3 -m venv .cache/zig && .cache/zig/bin/pip install --quiet --disable-pip-version-check ziglang==0.17.1; then
		wrapper .cache/zig/zig "$PWD/.cache/zig/bin/python" -m ziglang
		cksum scripts/toolchains.sh >.cache/zig/stamp
	else
		rm -rf .cache/zig
		without "policies in Zig" "pip failed, see above"
	fi
}

setup_assemblyscript() {
	local dir=policies/builtin
	if ! command -v npm >/dev/null; then
		without "policies in AssemblyScript" "there is no npm"
	elif once "$dir/node_modules/.stamp" "$dir/package-lock.json"; then
		echo "set-up: installing AssemblyScript into $dir/node_modules"
		if npm --prefix "$dir" ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved=true; then
			cksum "$dir/package-lock.json" >"$dir/node_modules/.stamp"
		else
			rm -rf "$dir/node_modules"
			without "policies in AssemblyScript" "npm failed, see above"
		fi
	fi
}

# Debian has a Rust compiler that knows WebAssembly and no library for it, so the core library is built from its sources.
setup_rust() {
	local target=wasm32-unknown-unknown
	once .cache/rust/stamp scripts/toolchains.sh || return 0
	rm -rf .cache/rust
	if command -v cargo >/dev/null && [ -d "$(rustc --print target-libdir --target $target 2>/dev/null)" ]; then
		wrapper .cache/rust/rustc rustc
	elif packages rustc-web rust-web-src lld-19 && { command -v cargo >/dev/null || packages cargo-web; }; then
		echo "set-up: building Rust's core library for WebAssembly into .cache/rust"
		local out=.cache/rust/lib/rustlib/$target/lib sources
		sources=$(ls -d /usr/src/rustc-*/library | tail -n 1)
		mkdir -p "$out"
		wrapper .cache/rust/rustc env RUSTC_BOOTSTRAP=1 /usr/bin/rustc --sysroot "$PWD/.cache/rust" -C linker=wasm-ld-19
		local build=(.cache/rust/rustc --edition 2024 --crate-type rlib --target "$target" -C opt-level=3 -C panic=abort --cap-lints allow)
		"${build[@]}" --crate-name core -C codegen-units=4 -o "$out/libcore.rlib" "$sources/core/src/lib.rs" &&
			"${build[@]}" --crate-name compiler_builtins --cfg 'feature="compiler-builtins"' --cfg 'feature="mem"' \
				-o "$out/libcompiler_builtins.rlib" "$sources/compiler-builtins/compiler-builtins/src/lib.rs" || rm -rf .cache/rust
	fi
	if [ -x .cache/rust/rustc ]; then
		cksum scripts/toolchains.sh >.cache/rust/stamp
	else
		without "policies in Rust" "there is no target $target (rustup target add $target), and it cannot be built: apt-get install rustc-web rust-web-src lld-19"
	fi
}
