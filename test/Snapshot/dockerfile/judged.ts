/** Dockerfiles with the structure of well-known public ones, for busybox. */

export interface Judged {
  /** What it has the structure of. */
  readonly like: string
  readonly lines: ReadonlyArray<string>
  readonly files?: { readonly [path: string]: string }
  readonly args?: { readonly [name: string]: string }
  readonly secrets?: { readonly [id: string]: string }
  readonly target?: string
}

const from = "FROM lightbox.test/busybox:1"

export const judged: ReadonlyArray<Judged> = [
  {
    like: "a web server with a script as its entrypoint",
    lines: [
      from,
      'LABEL maintainer="The maintainers <web@example.com>" version=1.27',
      "ENV SERVER_VERSION 1.27.0",
      'ENV PKG_RELEASE="1~test" DYNPKG_RELEASE=2',
      "RUN set -x \\",
      "    # a user of its own",
      "    && echo 'web:x:101:101:web:/nonexistent:/bin/false' >> /etc/passwd \\",
      "    && echo 'web:x:101:' >> /etc/group \\",
      "    && mkdir -p /var/cache/web /docker-entrypoint.d \\",
      "    && chown web:web /var/cache/web \\",
      "    && mkdir -p /var/log/web && ln -sf /dev/stdout /var/log/web/access.log",
      "COPY docker-entrypoint.sh /",
      "COPY 10-listen.sh 20-envsubst.sh /docker-entrypoint.d/",
      'ENTRYPOINT ["/docker-entrypoint.sh"]',
      "EXPOSE 80",
      "STOPSIGNAL SIGQUIT",
      'CMD ["web", "-g", "daemon off;"]'
    ],
    files: {
      "docker-entrypoint.sh": '#!/bin/sh\nexec "$@"\n',
      "10-listen.sh": "#!/bin/sh\n",
      "20-envsubst.sh": "#!/bin/sh\n"
    }
  },
  {
    like: "a database with a data folder",
    lines: [
      from,
      "ENV DB_MAJOR 17",
      "ENV PATH $PATH:/usr/lib/db/$DB_MAJOR/bin",
      "RUN mkdir -p /usr/lib/db/$DB_MAJOR/bin && printf '#!/bin/sh\\n' > /usr/lib/db/$DB_MAJOR/bin/db && chmod +x /usr/lib/db/$DB_MAJOR/bin/db",
      "ENV PGDATA /var/lib/db/data",
      'RUN mkdir -p "$PGDATA" && chown -R 1000:1000 "$PGDATA" && chmod 1777 "$PGDATA"',
      "RUN mkdir /docker-entrypoint-initdb.d",
      "COPY --chown=root:app entry.sh ensure.sh /usr/bin/",
      "RUN ln -sT entry.sh /usr/bin/entry || ln -s entry.sh /usr/bin/entry",
      'ENTRYPOINT ["entry.sh"]',
      "STOPSIGNAL SIGINT",
      "EXPOSE 5432",
      'CMD ["db"]'
    ],
    files: { "entry.sh": "#!/bin/sh\n", "ensure.sh": "#!/bin/sh\n" }
  },
  {
    like: "an app of a scripting language, with its dependencies first",
    lines: [
      from,
      "WORKDIR /usr/src/app",
      "COPY package*.json ./",
      "RUN mkdir node_modules && cp package.json node_modules/installed",
      "COPY . .",
      "ENV NODE_ENV=production PORT=3000",
      "EXPOSE $PORT",
      "USER app",
      'CMD [ "node", "server.js" ]'
    ],
    files: {
      "package.json": "{}",
      "package-lock.json": "{ }",
      "server.js": "serve()",
      "src/routes/index.js": "route()",
      "README.md": "# read",
      ".git/HEAD": "ref",
      "node_modules/left/pad.js": "old",
      "npm-debug.log": "log",
      ".dockerignore": "# left out\nnode_modules\n*.log\n.git\n**/*.md\n!README.md\n"
    }
  },
  {
    like: "a compiled program, built in another stage",
    lines: [
      `${from} AS build`,
      "WORKDIR /src",
      "COPY go.mod go.sum ./",
      "RUN cat go.mod go.sum > /deps",
      "COPY *.go ./",
      "ARG VERSION=dev",
      'RUN mkdir /out && echo "binary $VERSION" > /out/server && chmod 0755 /out/server',
      from,
      "COPY --from=build /out/server /usr/bin/",
      "COPY --from=build --chown=1000:1000 /src /srv/src",
      "COPY --from=0 /deps /deps.txt",
      "USER 1000:1000",
      'ENTRYPOINT ["server"]'
    ],
    files: { "go.mod": "module m\n", "go.sum": "h1\n", "main.go": "package main\n", "other.txt": "" },
    args: { VERSION: "1.2.3" }
  },
  {
    like: "a package manager with a cache that is mounted",
    lines: [
      from,
      "ENV PIP_DEFAULT_TIMEOUT=100 \\",
      "    PIP_NO_CACHE_DIR=1",
      "WORKDIR /app",
      "COPY requirements.txt .",
      "RUN --mount=type=cache,target=/var/pip echo wheel >> /var/pip/wheel && mkdir -p /usr/lib/site && cp requirements.txt /usr/lib/site/",
      "RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/y && cp /scratch/y /app/from-memory",
      "RUN --mount=type=bind,source=conf,target=/mnt/conf cat /mnt/conf/a.ini > /app/conf.ini",
      "COPY --chmod=750 app .",
      'CMD ["python", "-m", "app"]'
    ],
    files: { "requirements.txt": "flask\n", "conf/a.ini": "a=1\n", "app/__main__.py": "run()\n", "app/util/x.py": "" }
  },
  {
    like: "a private dependency, with a secret",
    lines: [
      from,
      'RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = hush && echo fetched > /fetched',
      "RUN --mount=type=secret,id=token,target=/etc/netrc wc -c < /etc/netrc > /length"
    ],
    secrets: { token: "hush" }
  },
  {
    like: "a server whose user and folders are arguments",
    lines: [
      "ARG REGISTRY=lightbox.test",
      "ARG TAG=0",
      "FROM ${REGISTRY}/busybox:${TAG}",
      "ARG user=jenkins",
      "ARG group=jenkins",
      "ARG uid=1001",
      "ARG gid=1002",
      "ARG http_port=8080",
      "ARG HOME_DIR=/var/${user}_home",
      "ARG REGISTRY",
      "ENV JENKINS_HOME $HOME_DIR",
      "ENV FROM_REGISTRY=${REGISTRY:-none} EMPTY=${NOTHING:-fallback} SET=${user:+yes}",
      "RUN mkdir -p $JENKINS_HOME && chown ${uid}:${gid} $JENKINS_HOME \\",
      '  && echo "${group}:x:${gid}:" >> /etc/group && echo "${user}:x:${uid}:${gid}::$JENKINS_HOME:/bin/sh" >> /etc/passwd',
      "EXPOSE ${http_port} 50000/tcp 53/udp",
      "WORKDIR $JENKINS_HOME",
      "COPY --chown=${uid}:${gid} ref ref/",
      "USER ${user}",
      "WORKDIR war",
      "RUN echo hi > here",
      'LABEL org.example.user="${user}" org.example.both="a b"'
    ],
    files: { "ref/init.groovy": "x", "ref/sub/y": "y" },
    args: { TAG: "1", uid: "1500" }
  },
  {
    like: "a base image from an archive of its root",
    lines: [
      from,
      "ADD rootfs.tar.gz /",
      "ADD rootfs.tar /opt/base/",
      "ADD not-an-archive.tar.gz notes.txt /opt/",
      'CMD ["bash"]'
    ],
    files: { "rootfs/opt/a/b": "b", "rootfs/opt/c": "c", "not-an-archive.tar.gz": "plain", "notes.txt": "notes" }
  },
  {
    like: "a framework with stages that start from each other",
    lines: [
      `${from} AS base`,
      "ENV APP_ENV=base",
      "WORKDIR /app",
      "COPY composer.json .",
      "FROM base AS dev",
      "ENV APP_ENV=dev",
      "RUN echo xdebug > debug.ini",
      "FROM base AS vendor",
      "RUN mkdir vendor && echo lib > vendor/lib.php",
      "FROM base AS prod",
      "ENV APP_ENV=prod",
      "COPY --from=vendor /app/vendor ./vendor",
      "COPY --chown=app:app src ./src",
      "RUN rm composer.json && echo $APP_ENV > env",
      'HEALTHCHECK --interval=10s CMD ["true"]',
      'ENTRYPOINT ["docker-php-entrypoint"]',
      "CMD php -S"
    ],
    files: { "composer.json": "{}", "src/index.php": "<?php", "src/lib/a.php": "" },
    target: "prod"
  },
  {
    like: "a tool whose commands need another shell",
    lines: [
      from,
      'SHELL ["/bin/sh", "-eu", "-c"]',
      'RUN x=1; test "$x" = 1; echo ok > /shell',
      'RUN ["/bin/sh", "-c", "echo exec form > /exec"]',
      'ENTRYPOINT ["tool"]',
      'CMD ["--help"]'
    ]
  },
  {
    like: "overlays on folders that exist",
    lines: [
      from,
      "RUN mkdir -p /etc/app/keep && chmod 700 /etc/app && ln -s /etc/app /etc/link && echo old > /etc/app/a.conf",
      "COPY etc /etc/",
      "COPY etc/app/b.conf /etc/link/",
      "COPY etc/app/b.conf /etc/app/keep",
      "COPY etc/app/*.conf etc/app /new/deep/folder/",
      "COPY --chown=1000:1000 etc/app/b.conf /owned/by/app/file"
    ],
    files: { "etc/app/a.conf": "new", "etc/app/b.conf": "b", "etc/other/c": "c" }
  },
  {
    like: "continued lines, quotes and escapes",
    lines: [
      "# escape=`",
      from,
      `ENV A="two words" B="it's" C='$A' D=$A\``,
      "    E=last",
      "ENV OLD style  value",
      'RUN echo "$A|$B|$C|$D|$E|$OLD" > /values',
      'LABEL "quoted key"="value" plain=1',
      'COPY ["with space.txt", "/dest dir/"]'
    ],
    files: { "with space.txt": "spaced" }
  }
]
