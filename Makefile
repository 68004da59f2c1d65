# `make` lists the targets. What one needs, it prepares: .venv, the base image, Compose, buildx.
SHELL = /bin/bash
PYTHON = .venv/bin/python
LAB = $(PYTHON) -m tests.lab
FIRMWARE = bios
TIMEOUT = 60
export TEST_KERNEL_DIR ?= $(CURDIR)/.lab/testkernel

.DEFAULT_GOAL = help
.PHONY: help prepare build images demo test test-unit test-long test-nfsd lint lab-up lab-boot lab-shell \
	lab-down bench-image bench-drop bench-neopxe bench-idle bench-boot bench-ramdisk \
	bench-nfs test-kernel settings-docs lock clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

prepare:
	@python3 tests/lab/host.py prepare

demo: prepare ## boot a kernel in a virtual machine, from power-on to a shell: FIRMWARE=bios|uefi|uefi-arm64
	@$(LAB) demo --firmware $(FIRMWARE)

# A file's tests share a lab; files do not know of each other, so they run side by side.
SIDE_BY_SIDE = -n auto --maxprocesses 4 --dist loadfile
TEST_KERNELS = $(if $(wildcard $(TEST_KERNEL_DIR)/bzImage-*),,test-kernel)
test: build $(TEST_KERNELS) ## all tests but those that take minutes each: unit and lab
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE)

test-unit: prepare ## the tests that need no container
	@$(PYTHON) -m pytest -m 'not lab'

test-long: build $(TEST_KERNELS) ## storms and long fuzzing, minutes each
	@$(PYTHON) -m pytest -m 'long or nfsd'

test-nfsd: build $(TEST_KERNELS) ## the kernel's NFS server, in a virtual server with Debian's kernel
	@$(PYTHON) -m pytest -m nfsd

lint: prepare ## ruff and mypy
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m mypy -p tests.lab -p bench

build: prepare ## build the images
	@$(LAB) build
images: build

lab-up: build ## start a lab that stays: SETTINGS='BOOTDROP_…=VALUE …'
	@$(LAB) up $(SETTINGS)

lab-boot: prepare ## boot a machine: FIRMWARE= KERNEL= INITRD= EXPECT= TIMEOUT=
	@$(LAB) boot --firmware $(FIRMWARE) --timeout $(TIMEOUT) \
		$(if $(KERNEL),--kernel '$(KERNEL)') $(if $(INITRD),--initrd '$(INITRD)') \
		$(if $(EXPECT),--expect '$(EXPECT)')

lab-shell: prepare ## a shell on the lab's network
	@$(LAB) shell

bench-image: build
	@$(PYTHON) -m bench.image

bench-drop: bench-image ## measure: seconds from a kernel's drop to the menu that contains it
	@$(PYTHON) -m bench.drop

bench-idle: bench-image ## measure: memory, processor and start of an appliance that idles
	@$(PYTHON) -m bench.idle

bench-boot: bench-image $(if $(wildcard $(TEST_KERNEL_DIR)/bzImage-*),,test-kernel) ## measure: seconds from power-on to init, and what others need
	@$(PYTHON) -m bench.boot

bench-ramdisk: build ## measure: a ramdisk by the article's steps and by the builder
	@$(PYTHON) -m bench.ramdisk

bench-nfs: build $(if $(wildcard $(TEST_KERNEL_DIR)/bzImage-*),,test-kernel) ## measure: reading over NFS, and the same server set up by hand
	@$(PYTHON) -m bench.nfs

lab-down: prepare ## remove the lab and what it had
	@$(LAB) down

bench-neopxe: prepare ## answers of the PXE boot server in a second, and its slowest ones
	@$(PYTHON) -m bench.neopxe

test-kernel: prepare ## build the tests' kernels from Debian's source into .lab/testkernel
	docker buildx build --progress plain --output .lab/testkernel tests/lab/testkernel

settings-docs: prepare ## write .env.example and docs/settings.md from appliance/settings.py
	@$(PYTHON) -m appliance.cli settings --write-docs .

UV_LOCK = uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 pyproject.toml
lock: ## lock what Python packages are used, by uv
	$(UV_LOCK) --output-file requirements.lock
	$(UV_LOCK) --group dev --output-file requirements-dev.lock

clean: prepare ## remove the lab, the test kernels and Python's caches
	@$(LAB) down
	rm -rf .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis
