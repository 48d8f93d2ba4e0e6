"""The labels that tie a resource to its stack: Docker Compose's own, so that both tools see each other's stacks.

Source: docker/compose pkg/api/labels.go.
"""

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
CONTAINER_NUMBER = "com.docker.compose.container-number"
ONEOFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
CONFIG_FILES = "com.docker.compose.project.config_files"
WORKING_DIR = "com.docker.compose.project.working_dir"
ENVIRONMENT_FILE = "com.docker.compose.project.environment_file"
DEPENDS_ON = "com.docker.compose.depends_on"
"""`service:condition:restart`, comma separated."""
IMAGE = "com.docker.compose.image"
"""The image id the container was made from."""
NETWORK = "com.docker.compose.network"
VOLUME = "com.docker.compose.volume"
VERSION = "com.docker.compose.version"
REPLACE = "com.docker.compose.replace"
