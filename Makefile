# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# make demo and make test are all a fresh Debian 12 or 13 machine needs (root, git, make). What they make is in .build,
# but for Debian packages and the lab itself, which make clean removes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= /usr/bin/python3
BUILD := $(CURDIR)/.build
VENV := $(BUILD)/venv
COLLECTION := $(BUILD)/collections/ansible_collections/altostratus/ecs
# role lab writes it; its hosts are reached from any network namespace
INVENTORY := /var/lib/altostratus-lab/inventory.yml
LAB_CACHE := /var/cache/altostratus-lab

export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(BUILD)/collections
export ANSIBLE_HOME := $(BUILD)/ansible
export ANSIBLE_NOCOWS := 1
export ECS_IMAGE_DIR := $(LAB_CACHE)/images
export ECS_PUBLIC_KEY := /var/lib/altostratus-lab/ssh/id_ed25519.pub
export MOLECULE_EPHEMERAL_DIRECTORY := $(BUILD)/molecule
export PYTHONPATH := $(BUILD)/collections
export PYTHONDONTWRITEBYTECODE := 1

# stamps are named after the content they stand for: another content, another stamp
digest = $(shell cat $(1) | sha256sum | cut -c1-12)
PACKAGES := $(BUILD)/packages-$(call digest,tools/packages.txt)
PEERS := $(BUILD)/peers/made-$(call digest,benchmarks/requirements.txt)
ENVIRONMENT := $(VENV)/made-$(call digest,requirements.txt requirements-dev.txt requirements-dev.lock.txt)

.PHONY: help
help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(PACKAGES) $(ENVIRONMENT) $(COLLECTION) ## install what everything here needs

$(PACKAGES): tools/packages.txt
	@mkdir -p $(BUILD)
	tools/install-packages.sh tools/packages.txt
	@touch $@

$(ENVIRONMENT): $(PACKAGES)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt --constraint requirements-dev.lock.txt
	@touch $@

$(COLLECTION):
	@mkdir -p $(@D)
	ln -sfn ../../../.. $@

.PHONY: demo
demo: setup ## build the demo cloud in the lab and fetch its page through the public IP
	@python tools/demo.py

.PHONY: lab
lab: setup ## start the lab: two hypervisors and an internet in network namespaces
	ansible-playbook playbooks/lab.yml

.PHONY: lab-down
lab-down: setup ## stop the lab and remove it; caches and images stay
	ansible-playbook playbooks/lab_destroy.yml

.PHONY: shell
shell: setup ## a shell in the lab's network, with Ansible, the collection and the inventory
	@ANSIBLE_INVENTORY=$(INVENTORY),$(dir $(INVENTORY))servers.ecs.yml ip netns exec ecs-lab bash -i

.PHONY: test
test: setup ## every test: unit, lint, sanity, integration, lab
	@python tools/check.py unit lint sanity integration lab

.PHONY: test-full
test-full: setup ## every test, and the demo twice
	@python tools/check.py unit lint sanity integration lab demo

.PHONY: test-unit
test-unit: setup ## pure tests, seconds
	@python tools/check.py unit

.PHONY: lint
lint: setup ## ruff, mypy, yamllint, ansible-lint, changelog, documentation, build
	@python tools/check.py lint

.PHONY: sanity
sanity: setup ## ansible-test sanity
	@python tools/check.py sanity

.PHONY: test-integration
test-integration: setup ## tests against real libvirt, OVN and QEMU, without hypervisors
	@python tools/check.py integration

.PHONY: test-lab
test-lab: setup ## the molecule scenario: lab, hosts, a cloud, its packets, and all given back
	@python tools/check.py lab

.PHONY: bench
bench: setup $(PEERS) ## ours against the bare engines and against peers; one of them: make bench ONLY=inventory
	@python benchmarks/run.py $(ONLY)

$(PEERS): $(PACKAGES) benchmarks/requirements.txt
	$(PYTHON) -m venv $(BUILD)/peers
	$(BUILD)/peers/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt --constraint requirements-dev.lock.txt
	@touch $@

.PHONY: format
format: setup ## lay out the Python code and fix what ruff can
	ruff format
	ruff check --fix

.PHONY: build
build: setup ## the collection as an artifact for ansible-galaxy, in .build/artifact
	ansible-galaxy collection build --force --output-path $(BUILD)/artifact

.PHONY: changelog
changelog: setup ## make a release entry of the version in galaxy.yml from the fragments, and CHANGELOG.md
	antsibull-changelog release --reload-plugins

.PHONY: lock
lock: ## pin the newest versions that requirements-dev.txt allows
	rm -rf $(BUILD)/lock
	$(PYTHON) -m venv $(BUILD)/lock
	$(BUILD)/lock/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	{ sed '/^[^#]/,$$d' requirements-dev.lock.txt; $(BUILD)/lock/bin/pip freeze; } >$(BUILD)/lock/pins
	mv $(BUILD)/lock/pins requirements-dev.lock.txt

# no recursive make here: make -n runs such lines in earnest
.PHONY: lab-purge
lab-purge: setup
	ansible-playbook playbooks/lab_destroy.yml --extra-vars '{"lab_purge": true}'

.PHONY: clean
clean: $(if $(wildcard $(INVENTORY) $(LAB_CACHE)),lab-purge) ## remove the lab, its caches and images, and .build; installed packages stay
	rm -rf $(BUILD) .ansible .mypy_cache .ruff_cache .pytest_cache
