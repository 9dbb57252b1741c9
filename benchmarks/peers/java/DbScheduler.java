import com.github.kagkarlsson.scheduler.Scheduler;
import com.github.kagkarlsson.scheduler.serializer.JavaSerializer;
import com.github.kagkarlsson.scheduler.task.helper.ScheduleAndData;
import com.github.kagkarlsson.scheduler.task.helper.Tasks;
import com.github.kagkarlsson.scheduler.task.schedule.PersistentCronSchedule;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Duration;
import java.time.LocalTime;
import java.time.ZoneOffset;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * db-scheduler, lock-and-fetch, firing recurring cron tasks whose handler does nothing, in this very process.
 * Arguments: JDBC URL, schedules stored, schedules due. Prints one line: fired a second.
 */
public class DbScheduler {
  private static String url;

  public static void main(String[] arguments) throws Exception {
    url = arguments[0];
    int stored = Integer.parseInt(arguments[1]);
    int due = Integer.parseInt(arguments[2]);
    load(stored, due);

    AtomicInteger fired = new AtomicInteger();
    var task = Tasks.recurringWithPersistentSchedule("run", ScheduleAndData.class)
        .execute((instance, context) -> fired.incrementAndGet());
    Scheduler scheduler = Scheduler.create(pool(20), task)
        .threads(20)
        .pollUsingLockAndFetch(4.0, 20.0)
        .pollingInterval(Duration.ofSeconds(1))
        .build();
    long began = System.nanoTime();
    long latest = began + 300_000_000_000L;
    scheduler.start();
    while (fired.get() < due && System.nanoTime() < latest) {
      Thread.sleep(2);
    }
    while (number("select count(*) from scheduled_tasks where execution_time <= now() or picked") > 0
        && System.nanoTime() < latest) {
      Thread.sleep(5);
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    System.out.printf("%.1f%n", fired.get() / seconds);
    scheduler.stop();
    System.exit(fired.get() == due ? 0 : 1);
  }

  private static void load(int stored, int due) throws Exception {
    int far = (LocalTime.now(ZoneOffset.UTC).getMinute() + 30) % 60;
    var parameters = new HashMap<String, Object>(Map.of("repository_id", 42, "analysis_type", "full"));
    var schedule = new PersistentCronSchedule("0 " + far + " * * * ?", ZoneOffset.UTC, parameters);
    String data = HexFormat.of().formatHex(new JavaSerializer().serialize(schedule));
    run("drop table if exists scheduled_tasks");
    run("create table scheduled_tasks (task_name text not null, task_instance text not null, task_data bytea,"
        + " execution_time timestamptz, picked boolean not null, picked_by text, last_success timestamptz,"
        + " last_failure timestamptz, consecutive_failures int, last_heartbeat timestamptz, version bigint not null,"
        + " priority smallint, state text, primary key (task_name, task_instance))");
    run("create index execution_time_idx on scheduled_tasks (execution_time)");
    run("create index last_heartbeat_idx on scheduled_tasks (last_heartbeat)");
    run("create index priority_execution_time_idx on scheduled_tasks (priority desc, execution_time asc)");
    run("insert into scheduled_tasks (task_name, task_instance, task_data, execution_time, picked, version, priority)"
        + " select 'run', 's' || i, '\\x" + data + "'::bytea, now() + interval '1 h', false, 1, 50"
        + " from generate_series(1, " + stored + ") i");
    run("update scheduled_tasks set execution_time = now() - interval '1 s' where task_instance in"
        + " (select task_instance from scheduled_tasks order by random() limit " + due + ")");
    run("vacuum analyze scheduled_tasks");
  }

  private static HikariDataSource pool(int size) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(url);
    config.setMaximumPoolSize(size);
    config.setMinimumIdle(size);
    return new HikariDataSource(config);
  }

  private static void run(String statement) throws Exception {
    try (Connection c = DriverManager.getConnection(url); Statement s = c.createStatement()) {
      s.execute(statement);
    }
  }

  private static long number(String query) throws Exception {
    try (Connection c = DriverManager.getConnection(url); Statement s = c.createStatement();
        ResultSet r = s.executeQuery(query)) {
      r.next();
      return r.getLong(1);
    }
  }
}
