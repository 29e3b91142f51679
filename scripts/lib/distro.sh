# SPDX-License-Identifier: GPL-2.0
# Part of scripts/setup: Debian's released kernel, and a build folder whose modules fit it.
# Debian's headers lack the metadata of the kernel's Rust half; it is made from linux-source.
# shellcheck shell=bash

# pick_series: of the series (7.3, 7.4...) on standard input the one to work with.
pick_series() { sort -uV | awk '$1 == "7.3" {found = $1} {last = $1} END {print found ? found : last}'; }

# choose_series: decides which linux-source-7.y the tool root gets, before the root is made.
choose_series() {
	local there
	there=$(python3 - "$MIRROR/dists/$SUITE-backports/main/binary-amd64/Packages.xz" 2>/dev/null <<-'EOF'
		import lzma, re, sys, urllib.request
		with urllib.request.urlopen(sys.argv[1], timeout=60) as f:
		    text = lzma.decompress(f.read()).decode()
		print("\n".join(["read", *re.findall(r"^Package: linux-source-(7\.\d+)$", text, re.M)]))
	EOF
	) || true
	[ -n "$there" ] || die "no Debian archive answers at $MIRROR: check the network (http_proxy), or set DEBIAN_MIRROR"
	SERIES=$({ grep '^7' <<<"$there" || :; } | pick_series)
	[ -n "$SERIES" ] || die "the archive has no Linux 7 in $SUITE-backports: give the source of a 7.3 kernel with KERNEL_SRC=, and a DEBIAN_MIRROR that has linux-source-7.3"
	rm -f "$CACHE/series"
	if [ "$SERIES" != 7.3 ]; then
		say "warning: the archive no longer has Linux 7.3, for which rust_iommu is written; trying $SERIES (KERNEL_SRC=DIR with the source of a 7.3 kernel is the safe way)"
		echo "$SERIES" >"$CACHE/series"
	fi
	ROOT=${RUST_IOMMU_ROOT:-$(root_path)}
}

# distro_apt DIR COMMAND...: apt-get or apt-cache of the tool root with lists of their own in DIR.
distro_apt() {
	local dir=$1 command=$2
	shift 2
	in_root "$command" -q -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir" -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

# distro_find DIR VERSION: the release (7.3.4+deb13-amd64) of the archive's kernel of that version.
distro_find() {
	local dir=$1 version=$2
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	echo "deb $MIRROR $SUITE-backports main" >"$dir/sources.list"
	log_run "$CACHE/log/apt-distro.log" "list of kernels" distro_apt "$dir" apt-get update
	distro_apt "$dir" apt-cache dumpavail >"$dir/available"
	awk -v v="$version" '$1 == "Package:" {p = $2} $1 == "Version:" && $2 == v {print p}' "$dir/available" >"$dir/names"
	grep -E '^linux-headers-[0-9].*-amd64$' "$dir/names" | grep -vE -- '-(rt|cloud)-amd64$' | sed 's/^linux-headers-//' | head -n 1
}

# distro_unpack DIR TARGET PACKAGE...: fetches and unpacks packages; nothing is installed.
distro_unpack() {
	local dir=$1 target=$2
	shift 2
	mkdir -p "$target"
	(cd "$dir" && rm -f ./*.deb && distro_apt "$dir" apt-get download "$@" && for d in *.deb; do
		in_root dpkg -x "$dir/$d" "$target" && rm -f "$d" || exit
	done)
}

# distro_image DIR TARGET RELEASE: the kernel itself and its modules.
distro_image() {
	# shellcheck disable=SC2046 # names
	distro_unpack "$1" "$2" $(grep -xE "linux-(image|binary|modules|base)-${3//+/\\+}" "$1/names") &&
		{ [ -e "$2/lib" ] || ln -s usr/lib "$2/lib"; } && in_root depmod -b "$2" "$3"
}

# distro_same_config OLD NEW: a configuration that changes under our tools would make modules
# that do not fit. Keys and kinds of signatures do not matter to a module.
distro_same_config() {
	local changed
	changed=$(diff <(grep CONFIG_ "$1" | sort) <(grep CONFIG_ "$2" | sort) | sed -n 's/^[<>] //p' |
		grep -oE 'CONFIG_[A-Za-z0-9_]+' | sort -u | grep -vE '^CONFIG_(MODULE_SIG|OPENSSL_SUPPORTS)_' || true)
	[ -z "$changed" ] || die "Debian's kernel was configured with other tools than this tool root has: $(echo $changed) changed; remove $ROOT to have it made anew"
}

setup_distro() {
	local dir release headers image apt version mk
	dir=$(kernel_dir distro)
	[ -f "$dir/.complete" ] && return
	[ -z "${KERNEL_SRC:-}" ] || die "KERNEL_SRC is for the kernels lean and debug (scripts/demo --flavour lean); Debian's needs the source it was built from"
	need_space "$CACHE" 1500 "Debian's kernel"
	version=$(version_of "linux-source-$SERIES")
	apt=$dir/apt
	mkdir -p "$apt"
	release=$(cat "$dir/.release" 2>/dev/null || true)
	if [ -z "$release" ] || [ ! -s "$apt/names" ]; then
		release=$(distro_find "$apt" "$version")
		[ -n "$release" ] || die "the archive has no linux-headers $version, which the tool root's linux-source is of: remove $ROOT to have it made anew, or take the lean kernel (FLAVOUR=lean)"
		echo "$release" >"$dir/.release"
	fi
	headers=$dir/debian/usr/src/linux-headers-$release
	if [ ! -f "$dir/.headers" ]; then
		log_run "$CACHE/log/headers-distro.log" "Debian's headers $release" distro_unpack "$apt" "$dir/debian" "linux-headers-$release"
		touch "$dir/.headers"
	fi
	# The image and 4000 modules come while the compiler is busy.
	if [ ! -f "$dir/.image" ]; then
		(
			mkdir -p "$dir/apt-image"
			cp -a "$apt/." "$dir/apt-image"
			log_run "$CACHE/log/image-distro.log" "Debian's kernel $release" distro_image "$dir/apt-image" "$dir/debian" "$release"
			rm -rf "$dir/apt-image"
			touch "$dir/.image"
		) &
		image=$!
	fi
	[ -f "$dir/.prepared" ] || cp "$headers/.config" "$dir/.config"
	# shellcheck disable=SC2207 # words
	mk=(make -C "$SRC" O="$dir" ARCH=x86_64 KERNELRELEASE="$release" $(compiler_of "$headers"))
	if [ ! -f "$dir/.prepared" ]; then
		log_run "$CACHE/log/config-distro.log" "configuring" in_root "${mk[@]}" olddefconfig
		distro_same_config "$headers/.config" "$dir/.config"
		say "making what Debian's headers lack for Rust (about two minutes on two cores)"
		log_run "$CACHE/log/build-distro.log" "Rust metadata of $release" in_root "${mk[@]}" -j"$JOBS" modules_prepare
		# The symbols of the released kernel, and its types for BTF.
		cp "$headers/Module.symvers" "$dir/"
		if [ -f "$headers/vmlinux" ]; then cp "$headers/vmlinux" "$dir/"; fi
		touch "$dir/.prepared"
	fi
	if [ -n "${image:-}" ]; then wait "$image" || die "fetching Debian's kernel failed; see $CACHE/log/image-distro.log"; fi
	rm -rf "$apt"
	touch "$dir/.complete"
}
